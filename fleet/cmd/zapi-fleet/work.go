package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

func work(flags *flag.FlagSet) action {
	var e engine
	e.define(flags)
	file := flags.String("credentials", "", "`file` with the columns instance, token and clientToken, CSV; read again when it changes"+needed)
	baseURL := flags.String("base-url", "", "`URL` of the API, if it is not Z-API's")
	perAccount := flags.Int("calls-per-account", 16, "calls in flight for each account")
	calls := flags.Int("calls", 64, "calls in flight in all")
	metricsAt := flags.String("metrics", "", "`address` that serves metrics for Prometheus, such as 127.0.0.1:9464")
	verbose := flags.Bool("v", false, "log every failure to standard error")
	return func(ctx context.Context, out *screen) error {
		r := &reporter{out: out, metrics: newMetrics(), settled: make(map[fleet.State]int), kinds: make(map[string]int), said: make(map[string]time.Time)}
		creds := &credentialsFile{path: *file, say: out.sayf}
		if err := creds.read(); err != nil {
			return err
		}
		client := []zapi.Option{zapi.WithoutClientToken()}
		if *baseURL != "" {
			client = append(client, zapi.WithBaseURL(*baseURL))
		}
		if *verbose {
			r.verbose = slog.NewTextHandler(os.Stderr, nil)
		}
		if *metricsAt != "" {
			stop, err := r.metrics.serve(ctx, *metricsAt)
			if err != nil {
				return fmt.Errorf("-metrics: %w", err)
			}
			defer stop()
		}
		e.notes = r.engine
		return e.with(ctx, func(f *fleet.Fleet) error {
			out.sayf("working for %s instances; interrupt to end", number(len(creds.creds)))
			r.metrics.up.Set(1)
			minutes, stop := context.WithCancel(ctx)
			var reports sync.WaitGroup
			reports.Go(func() { r.everyMinute(minutes) })
			err := f.Work(ctx, inFlight{creds, r.metrics}, fleet.WithClient(client...), fleet.WithCalls(*perAccount, *calls), fleet.WithObserver(r.observe))
			stop()
			reports.Wait()
			out.sayf("ended: %s", r.summary())
			return err
		}, fleet.WithLogger(slog.New(r)))
	}
}

// inFlight counts the calls of a worker from the moment when it asks for credentials.
type inFlight struct {
	fleet.Resolver
	metrics *metrics
}

func (i inFlight) Credentials(ctx context.Context, t fleet.Target) (zapi.Credentials, error) {
	i.metrics.inFlight.WithLabelValues(t.Account).Inc()
	return i.Resolver.Credentials(ctx, t)
}

// metrics are what Prometheus reads. They have no label for an instance, of which there may be a million.
type metrics struct {
	registry *prometheus.Registry
	settled  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	seconds  prometheus.Histogram
	up       prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zapi_fleet_settled_total", Help: "Orders that were settled, by what became of them.",
		}, []string{"account", "state", "kind"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "zapi_fleet_in_flight", Help: "Orders that are being applied.",
		}, []string{"account"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zapi_fleet_apply_seconds", Help: "How long an attempt took.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 11),
		}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{Name: "zapi_fleet_engine_up", Help: "1 while the engine is there."}),
	}
	m.registry.MustRegister(m.settled, m.inFlight, m.seconds, m.up)
	return m
}

// serve answers under /metrics until stop is called.
func (m *metrics) serve(ctx context.Context, address string) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	return func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}

// reporter says what a worker does, and counts it. It is the logger of the fleet, too: what is not about a single instance is said,
// at most once a minute each; with -v all is logged.
type reporter struct {
	out     *screen
	metrics *metrics
	verbose slog.Handler

	mu      sync.Mutex
	settled map[fleet.State]int
	kinds   map[string]int // of those that were parked
	said    map[string]time.Time
}

func (r *reporter) observe(e fleet.Event) {
	if e.Took > 0 {
		r.metrics.inFlight.WithLabelValues(e.Account).Dec()
		r.metrics.seconds.Observe(e.Took.Seconds())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[e.State]++
	if e.State == fleet.Parked {
		r.kinds[e.Kind]++
	}
	if e.State != fleet.Waiting {
		r.metrics.settled.WithLabelValues(e.Account, string(e.State), e.Kind).Inc()
	}
}

func (r *reporter) engine(up bool) {
	if up {
		r.metrics.up.Set(1)
		r.out.sayf("the engine is back")
		return
	}
	r.metrics.up.Set(0)
	r.out.sayf("the engine is away; waiting for it")
}

func (r *reporter) everyMinute(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.out.sayf("%s", r.summary())
		case <-ctx.Done():
			return
		}
	}
}

// summary is what was done so far.
func (r *reporter) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%s applied, %s parked, %s tried again", number(r.settled[fleet.Applied]), number(r.settled[fleet.Parked]), number(r.settled[fleet.Waiting]))
	if len(r.kinds) > 0 {
		text += " (" + reasons(maps.Clone(r.kinds)) + ")"
	}
	return text
}

// Enabled implements [slog.Handler].
func (r *reporter) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements [slog.Handler]. Fleet does not call it.
func (r *reporter) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements [slog.Handler]. Fleet does not call it.
func (r *reporter) WithGroup(string) slog.Handler { return r }

// Handle implements [slog.Handler].
func (r *reporter) Handle(ctx context.Context, record slog.Record) error {
	var err error
	if r.verbose != nil {
		err = r.verbose.Handle(ctx, record)
	}
	text, aboutInstance := record.Message, false
	record.Attrs(func(a slog.Attr) bool {
		aboutInstance = aboutInstance || a.Key == "key"
		if a.Key != "worker" && a.Value.String() != "<nil>" {
			text += fmt.Sprintf(" %s=%s", a.Key, strings.Join(strings.Fields(a.Value.String()), " "))
		}
		return true
	})
	r.mu.Lock()
	again := time.Since(r.said[record.Message]) < time.Minute && strings.HasPrefix(record.Message, "cannot")
	if !aboutInstance && !again {
		r.said[record.Message] = record.Time
	}
	r.mu.Unlock()
	if !aboutInstance && !again {
		r.out.sayf("%s", text)
	}
	return err
}

func serve(flags *flag.FlagSet) action {
	dir := flags.String("dir", "", "`folder` of the engine, which is created"+needed)
	listen := flags.String("listen", "127.0.0.1:4222", "loopback `address`")
	return func(ctx context.Context, out *screen) error {
		token := os.Getenv(tokenVariable)
		if token == "" {
			return fmt.Errorf("%s is needed: a secret that the other processes present", tokenVariable)
		}
		f, err := fleet.Open(ctx, fleet.Embedded(*dir, fleet.WithListen(*listen, token)))
		if err != nil {
			return err
		}
		out.sayf("serving %s on nats://%s; interrupt to end", *dir, *listen)
		err = guard(ctx, out, func(ctx context.Context) error { return errors.Join(writes(*dir), reads(ctx, f)) })
		return errors.Join(err, f.Close())
	}
}

const (
	probeEvery = 5 * time.Second
	probeLimit = time.Minute // of failures, after which a supervisor may do better
)

// guard asks again and again whether the engine can do its work. It says when it cannot, and returns an error after a minute of that.
func guard(ctx context.Context, out *screen, probe func(context.Context) error) error {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		attempt, cancel := context.WithTimeout(ctx, probeEvery)
		err := probe(attempt)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && !since.IsZero():
			since = time.Time{}
			out.sayf("the engine can write again")
		case err == nil:
		case since.IsZero():
			since = time.Now()
			out.sayf("the engine cannot work: %s", oneLine(err))
		case time.Since(since) >= probeLimit:
			return fmt.Errorf("the engine could not work for a minute: %w", err)
		}
	}
}

// writes reports whether the folder of the engine can be written to: a disk may be full, or have become read-only.
func writes(dir string) error {
	file, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 64<<10))
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()))
}

// reads reports whether the engine answers. One that has met a full disk answers no more, also when there is room again.
func reads(ctx context.Context, f *fleet.Fleet) error {
	for _, err := range f.Rollouts(ctx) {
		return err
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zapi-go/zapi"
	"github.com/zapi-go/zapi/fleet"
)

func work(ctx context.Context, s *session) error {
	r := &reporter{
		Handler: slog.NewTextHandler(io.Discard, nil), screen: s.screen,
		settled: make(map[fleet.State]int), kinds: make(map[string]int), said: make(map[string]time.Time),
	}
	if s.verbose {
		r.Handler = slog.NewTextHandler(os.Stderr, nil)
	}
	creds := &credentialsFile{path: s.credentials, say: s.sayf}
	if err := creds.read(); err != nil {
		return err
	}
	if s.metrics != "" {
		stop, err := serveMetrics(ctx, s.metrics)
		if err != nil {
			return fmt.Errorf("-metrics: %w", err)
		}
		defer stop()
	}
	s.options, s.changed = []fleet.Option{fleet.WithLogger(slog.New(r))}, r.engineChanged
	return withEngine(func(ctx context.Context, s *session) error {
		s.sayf("working for %s instances; interrupt to end", number(len(creds.creds)))
		engineUp.Set(1)
		ctx, stop := context.WithCancel(ctx)
		var reports sync.WaitGroup
		reports.Go(func() {
			for sleep(ctx, time.Minute) {
				s.sayf("%s", r.summary())
			}
		})
		client := []zapi.Option{zapi.WithoutClientToken()}
		if s.baseURL != "" {
			client = append(client, zapi.WithBaseURL(s.baseURL))
		}
		err := s.fleet.Work(ctx, counted{creds}, fleet.WithClient(client...), fleet.WithCalls(s.callsPerAccount, s.calls), fleet.WithObserver(r.observe))
		stop()
		reports.Wait()
		s.sayf("ended: %s", r.summary())
		return err
	})(ctx, s)
}

// What Prometheus reads. No metric has a label for an instance, of which there may be a million.
var (
	settledTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "zapi_fleet_settled_total", Help: "Orders that were settled, by what became of them.",
	}, []string{"account", "state", "kind"})
	inFlight = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "zapi_fleet_in_flight", Help: "Orders that are being applied.",
	}, []string{"account"})
	applySeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "zapi_fleet_apply_seconds", Help: "How long an attempt took.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 11),
	})
	engineUp = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "zapi_fleet_engine_up", Help: "1 while the engine is there.",
	})
)

// serveMetrics answers under /metrics until stop is called.
func serveMetrics(ctx context.Context, address string) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) //nolint:errcheck // it ends when it is closed
	return func() { _ = server.Close() }, nil
}

// counted counts the calls of a worker from the moment when it asks for credentials.
type counted struct{ fleet.Resolver }

func (c counted) Credentials(ctx context.Context, t fleet.Target) (zapi.Credentials, error) {
	inFlight.WithLabelValues(t.Account).Inc()
	return c.Resolver.Credentials(ctx, t)
}

// reporter says what a worker does, and counts it. It is the logger of the fleet, too: what is not about a single instance is said,
// and what fails again at most once a minute. With -v, the handler that it embeds logs all to standard error.
type reporter struct {
	slog.Handler
	*screen

	mu      sync.Mutex
	settled map[fleet.State]int
	kinds   map[string]int       // of those that were parked
	said    map[string]time.Time // by message
}

func (r *reporter) observe(e fleet.Event) {
	if e.Took > 0 {
		inFlight.WithLabelValues(e.Account).Dec()
		applySeconds.Observe(e.Took.Seconds())
	}
	if e.State != fleet.Waiting {
		settledTotal.WithLabelValues(e.Account, string(e.State), e.Kind).Inc()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[e.State]++
	if e.State == fleet.Parked {
		r.kinds[e.Kind]++
	}
}

func (r *reporter) engineChanged(up bool) {
	if up {
		engineUp.Set(1)
		r.sayf("the engine is back")
	} else {
		engineUp.Set(0)
		r.sayf("the engine is away; waiting for it")
	}
}

// summary is what was done so far.
func (r *reporter) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%s applied, %s parked, %s tried again", number(r.settled[fleet.Applied]), number(r.settled[fleet.Parked]), number(r.settled[fleet.Waiting]))
	if len(r.kinds) > 0 {
		text += " (" + reasons(r.kinds) + ")"
	}
	return text
}

// Handle implements [slog.Handler].
func (r *reporter) Handle(ctx context.Context, record slog.Record) error {
	text, attrs := record.Message, make(map[string]string)
	record.Attrs(func(a slog.Attr) bool {
		value := strings.Join(strings.Fields(a.Value.String()), " ")
		if a.Value.Kind() == slog.KindTime {
			value = a.Value.Time().Local().Format("15:04:05")
		}
		attrs[a.Key] = value
		if a.Key != "worker" && value != "<nil>" {
			text += fmt.Sprintf(" %s=%s", a.Key, value)
		}
		return true
	})
	switch record.Message {
	case "account away":
		text = fmt.Sprintf("account %s is away; waiting for it", attrs["account"])
	case "account back":
		text = fmt.Sprintf("account %s is back", attrs["account"])
	case "account held":
		text = fmt.Sprintf("account %s is held by 429s until %s", attrs["account"], attrs["until"])
	}
	_, aboutInstance := attrs["key"]
	r.mu.Lock()
	again := strings.HasPrefix(record.Message, "cannot") && record.Time.Sub(r.said[record.Message]) < time.Minute
	if !aboutInstance && !again {
		r.said[record.Message] = record.Time
		r.sayf("%s", text)
	}
	r.mu.Unlock()
	return r.Handler.Handle(ctx, record)
}

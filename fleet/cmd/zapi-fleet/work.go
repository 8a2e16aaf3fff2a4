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
	"github.com/zapi-go/zapi/fleet/internal/counts"
)

// lookEvery is how soon a change of the credentials is noticed.
const lookEvery = 2 * time.Second

func work(ctx context.Context, s *session) error {
	var log io.Writer = os.Stderr
	if !s.verbose {
		log = io.Discard
	}
	r := newReporter(s.screen, log)
	creds := &credentialsFile{path: s.credentials}
	if _, err := creds.read(); err != nil {
		return err
	}
	if s.metrics != "" {
		if err := serveMetrics(ctx, s.metrics); err != nil {
			return fmt.Errorf("-metrics: %w", err)
		}
	}
	s.options, s.changed = []fleet.Option{fleet.WithLogger(slog.New(r))}, r.engineChanged
	return withEngine(func(ctx context.Context, s *session) error {
		engineUp.Set(1)
		s.sayf("working for %s instances; interrupt to end", counts.Number(len(*creds.creds.Load())))
		reporting, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			for sleep(reporting, time.Minute) {
				s.sayf("%s", r.summary())
			}
		}()
		go func() {
			for sleep(reporting, lookEvery/2) {
				if changed, err := creds.read(); err != nil {
					s.sayf("%s; going on with the credentials that were read before", oneLine(err))
				} else if changed {
					s.sayf("credentials read again: %s instances", counts.Number(len(*creds.creds.Load())))
				}
			}
		}()
		err := s.fleet.Work(ctx, creds, fleet.WithClient(zapi.WithoutClientToken(), zapi.WithBaseURL(s.baseURL)),
			fleet.WithCalls(s.callsPerAccount, s.calls), fleet.WithObserver(r.observe))
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

// serveMetrics answers under /metrics until ctx is done.
func serveMetrics(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // until it is closed
	return nil
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

func newReporter(out *screen, log io.Writer) *reporter {
	return &reporter{
		Handler: slog.NewTextHandler(log, nil), screen: out,
		settled: make(map[fleet.State]int), kinds: make(map[string]int), said: make(map[string]time.Time),
	}
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
	text := fmt.Sprintf("%s applied, %s parked, %s tried again",
		counts.Number(r.settled[fleet.Applied]), counts.Number(r.settled[fleet.Parked]), counts.Number(r.settled[fleet.Waiting]))
	if len(r.kinds) > 0 {
		text += " (" + counts.Kinds(r.kinds) + ")"
	}
	return text
}

// Handle implements [slog.Handler].
func (r *reporter) Handle(ctx context.Context, record slog.Record) error {
	text, attrs := record.Message, make(map[string]string)
	record.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		if a.Value.Kind() == slog.KindTime {
			attrs[a.Key] = a.Value.Time().Local().Format("15:04:05")
		}
		if a.Key != "worker" && a.Value.String() != "<nil>" {
			text += fmt.Sprintf(" %s=%s", a.Key, strings.Join(strings.Fields(attrs[a.Key]), " "))
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

package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVariantsSendTheSame(t *testing.T) {
	sdk, err := sentBySDK()
	require.NoError(t, err)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			sent := &recorder{}
			send, err := v.build(memoryURL, sent)
			require.NoError(t, err)
			require.NoError(t, send(t.Context()))
			assert.Equal(t, sdk.request.URL.Scheme, sent.request.URL.Scheme)
			assert.Equal(t, wire(t, sdk), wire(t, sent))
		})
	}
	for _, line := range []string{
		"POST /instances/" + creds.InstanceID + "/token/" + creds.Token + "/privacy/last-seen HTTP/1.1\r\n",
		"\r\nClient-Token: " + creds.ClientToken + "\r\n",
		"\r\nContent-Length: 146\r\n",
		`{"visualizationType":"CONTACT_BLACKLIST","contactsBlacklist":[{"action":"add","phone":"554411111111"},{"action":"remove","phone":"554422222222"}]}`,
	} {
		assert.Contains(t, wire(t, sdk), line)
	}
}

// wire is the request as the network would carry it.
func wire(t *testing.T, r *recorder) string {
	t.Helper()
	request := r.request.Clone(t.Context())
	request.Body = io.NopCloser(bytes.NewReader(r.body))
	var text bytes.Buffer
	require.NoError(t, request.Write(&text))
	return text.String()
}

func TestVariantsInParallel(t *testing.T) {
	targets, err := openTargets(0)
	t.Cleanup(func() { closeTargets(targets) })
	require.NoError(t, err)
	for i, v := range variants {
		f, err := targets[i].fly(16, 10)
		require.NoError(t, err, v.name)
		assert.Len(t, f.latencies, 160, v.name)
		assert.Positive(t, f.latencies[0], v.name)
		assert.Positive(t, f.opened, v.name)
	}
}

// sample is data of two rounds, in which zapi takes half of what bare resty does.
func sample() results {
	f := func(name string) figure {
		return figure{name, "unit", []series{{"zapi", []float64{1, 3}}, {"resty", []float64{2, 6}}, {"handwritten", []float64{0, 1}}}}
	}
	return results{
		Machine: machine{Platform: "os/arch", CPUs: 2, CPU: "<fast & small>", Go: "go1"},
		Command: "bench",
		Sections: []section{
			{sectionSequential, variantBases, []figure{f(figureMedian)}},
			{section64, variantBases, []figure{f(figureThroughput)}},
			{sectionMemory, variantBases, []figure{f(figureTime), f(figureAllocations)}},
		},
	}
}

func TestShowsWhatWasSaved(t *testing.T) {
	folder := t.TempDir()
	jsonFile, svgFile := filepath.Join(folder, "data.json"), filepath.Join(folder, "plot.svg")
	require.NoError(t, sample().save(jsonFile))
	var shown bytes.Buffer
	require.NoError(t, run([]string{"-from", jsonFile, "-svg", svgFile}, &shown, io.Discard))
	assert.Contains(t, shown.String(), "os/arch, 2 CPUs, <fast & small>, go1\nbench\n")
	assert.Contains(t, shown.String(), "in memory, 2 rounds\n")
	assert.Contains(t, shown.String(), "2.00 (1.20–2.80)  3.00 (3.00–3.00)  0.50 (0.50–0.50)")
	loaded, err := load(jsonFile)
	require.NoError(t, err)
	assert.Equal(t, sample(), loaded)
}

func TestPlotIsXML(t *testing.T) {
	drawing, err := sample().plot()
	require.NoError(t, err)
	for decoder := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		if _, err = decoder.Token(); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, io.EOF)
	assert.Contains(t, string(drawing), ">0.50</text>")
	assert.Contains(t, string(drawing), ">bare resty</text>")
	assert.NotContains(t, string(drawing), "NaN")

	_, err = results{}.plot()
	assert.Error(t, err, "there is nothing to draw")
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"-unknown"}, {"argument"}, {"-from", filepath.Join(t.TempDir(), "missing")}} {
		assert.Error(t, run(args, io.Discard, io.Discard), args)
	}
}

func TestQuantile(t *testing.T) {
	sorted := []float64{1, 2, 3, 4, 5}
	assert.InDelta(t, 3, quantile(sorted, 0.5), 1e-9)
	assert.InDelta(t, 1.4, quantile(sorted, 0.1), 1e-9)
	assert.InDelta(t, 5, quantile(sorted, 1), 1e-9)
	assert.InDelta(t, 7, quantile([]float64{7}, 0.9), 1e-9)
	assert.True(t, math.IsNaN(quantile(nil, 0.5)))
}

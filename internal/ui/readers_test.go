//go:build unix

package ui

import (
	"bufio"
	"io"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReaders: so many people have a page of a fleet of 10,000 clusters open while something changes all the time, as during a
// rollout: each asks again once a second.
func BenchmarkReaders(b *testing.B) {
	const readers, rounds = 50, 5
	server, changed := largeFleetOf(b, 10_000)
	for b.Loop() {
		stop := make(chan struct{})
		go func() {
			for tick := time.NewTicker(10 * time.Millisecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					changed()
				}
			}
		}()
		began, cpu := time.Now(), processTime(b)
		times := make(chan time.Duration, readers*rounds)
		var all sync.WaitGroup
		for i := range readers {
			all.Go(func() { readPage(b, server.URL, largePages[i%len(largePages)], rounds, times) })
		}
		all.Wait()
		close(stop)
		close(times)
		var took []time.Duration
		for t := range times {
			took = append(took, t)
		}
		if len(took) != readers*rounds {
			b.Fatalf("%d pages were read, want %d", len(took), readers*rounds)
		}
		slices.Sort(took)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
		b.ReportMetric((processTime(b)-cpu).Seconds()/time.Since(began).Seconds(), "cores")
		b.ReportMetric(float64(m.HeapInuse)/(1<<20), "heap-MiB")
	}
}

// readPage follows the fleet as the page's script does: at each event it asks for the page again.
func readPage(tb testing.TB, address, path string, rounds int, times chan<- time.Duration) {
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address+"/api/v1/watch", nil)
	if err != nil {
		tb.Error(err)
		return
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Error(err)
		return
	}
	defer answer.Body.Close()
	events := bufio.NewScanner(answer.Body)
	for done := 0; done < rounds && events.Scan(); {
		if events.Text() != "event: changed" {
			continue
		}
		began := time.Now()
		page, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address+path, nil)
		if err != nil {
			tb.Error(err)
			return
		}
		page.Header.Set("HX-Request", "true")
		got, err := http.DefaultClient.Do(page)
		if err != nil {
			tb.Error(err)
			return
		}
		_, err = io.Copy(io.Discard, got.Body)
		got.Body.Close()
		if err != nil || got.StatusCode != http.StatusOK {
			tb.Errorf("%s: %d %v", path, got.StatusCode, err)
			return
		}
		times <- time.Since(began)
		done++
	}
}

// processTime is the CPU time of this process, which has the readers in it.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// openloop calls one gRPC method at a fixed rate, whatever becomes of the calls before, and prints what came of them
// as one JSON object.
//
// The request is sent as it stands in a file, so no code is generated. A call's time counts from when it was due, not
// from when it was sent: a generator that falls behind hides nothing. Streams may flood the server beside them, each
// sending as fast as it is let.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// raw passes bytes through.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (raw) Name() string                       { return "proto" }

type outcome struct {
	code codes.Code
	took time.Duration
}

type report struct {
	Rate     float64        `json:"rate"`
	Sent     int            `json:"sent"`
	OK       int            `json:"ok"`
	Codes    map[string]int `json:"codes"`
	Goodput  float64        `json:"goodput_per_s"`
	P50      float64        `json:"ok_p50_ms"`
	P99      float64        `json:"ok_p99_ms"`
	OtherP99 float64        `json:"refused_p99_ms"`
	OtherMax float64        `json:"refused_max_ms"`
	Behind   float64        `json:"generator_behind_max_ms"`
	Streamed float64        `json:"streamed_per_s"`
}

func main() {
	address := flag.String("address", "", "host:port")
	method := flag.String("method", "/headrace.v1.ScoringService/Score", "full name of the method")
	file := flag.String("request", "", "file with the encoded request")
	rate := flag.Float64("rate", 100, "calls per second")
	seconds := flag.Float64("seconds", 5, "how long")
	deadline := flag.Duration("deadline", time.Second, "of each call")
	connections := flag.Int("connections", 8, "connections that the calls are spread over")
	streams := flag.Int("streams", 0, "streams that flood the server meanwhile")
	streamMethod := flag.String("stream-method", "/headrace.v1.ScoringService/ScoreStream", "full name of their method")
	streamFile := flag.String("stream-request", "", "file with their encoded request")
	flag.Parse()

	request, err := os.ReadFile(*file)
	if err != nil {
		fail(err)
	}
	channels := make([]*grpc.ClientConn, *connections)
	for i := range channels {
		channels[i], err = grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})), grpc.WithDisableRetry())
		if err != nil {
			fail(err)
		}
		channels[i].Connect()
	}
	streamed, end := flood(channels, *streamMethod, *streamFile, *streams)
	before := streamed.Load()
	found := run(channels, *method, request, *rate, *seconds, *deadline)
	found.Streamed = float64(streamed.Load()-before) / *seconds
	end()
	json.NewEncoder(os.Stdout).Encode(found)
}

// flood opens streams that send all the time, and counts their answers until it is ended.
func flood(channels []*grpc.ClientConn, method, file string, streams int) (*atomic.Int64, func()) {
	answers, ctx, end := &atomic.Int64{}, context.Background(), func() {}
	if streams == 0 {
		return answers, end
	}
	request, err := os.ReadFile(file)
	if err != nil {
		fail(err)
	}
	ctx, end = context.WithCancel(ctx)
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	for i := range streams {
		stream, err := channels[i%len(channels)].NewStream(ctx, both, method)
		if err != nil {
			fail(err)
		}
		go func() {
			for stream.SendMsg(&request) == nil {
			}
		}()
		go func() {
			var response []byte
			for stream.RecvMsg(&response) == nil {
				answers.Add(1)
			}
		}()
	}
	time.Sleep(time.Second) // until the flood has risen
	return answers, end
}

func run(channels []*grpc.ClientConn, method string, request []byte, rate, seconds float64, deadline time.Duration) report {
	var lock sync.Mutex
	var calls sync.WaitGroup
	found, behind := []outcome{}, time.Duration(0)
	began, due := time.Now(), time.Duration(0)
	random := rand.New(rand.NewSource(1))
	for sent := 0; due.Seconds() < seconds; sent++ {
		if wait := time.Until(began.Add(due)); wait > 0 {
			time.Sleep(wait)
		} else if -wait > behind {
			behind = -wait
		}
		calls.Add(1)
		go func(at time.Time, channel *grpc.ClientConn) {
			defer calls.Done()
			ctx, cancel := context.WithDeadline(context.Background(), at.Add(deadline))
			defer cancel()
			var response []byte
			err := channel.Invoke(ctx, method, &request, &response)
			one := outcome{status.Code(err), time.Since(at)}
			lock.Lock()
			found = append(found, one)
			lock.Unlock()
		}(began.Add(due), channels[sent%len(channels)])
		due += time.Duration(random.ExpFloat64() / rate * 1e9)
	}
	calls.Wait()
	return summary(found, rate, seconds, behind)
}

func summary(found []outcome, rate, seconds float64, behind time.Duration) report {
	own := report{Rate: rate, Sent: len(found), Codes: map[string]int{}, Behind: ms(behind)}
	var answered, other []time.Duration
	for _, one := range found {
		own.Codes[one.code.String()]++
		if one.code == codes.OK {
			answered = append(answered, one.took)
		} else if one.code != codes.DeadlineExceeded {
			other = append(other, one.took)
		}
	}
	own.OK, own.Goodput = len(answered), float64(len(answered))/seconds
	own.P50, own.P99 = quantile(answered, 0.5), quantile(answered, 0.99)
	own.OtherP99, own.OtherMax = quantile(other, 0.99), quantile(other, 1)
	return own
}

func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	return ms(times[min(int(q*float64(len(times))), len(times)-1)])
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

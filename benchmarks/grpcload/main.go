// Load for unary gRPC calls that neither builds nor reads messages, so that its own work stays small: requests are
// bytes from a file, replies are counted. Prints one line of JSON, as wrk.lua does.
//
//	grpcload HOST:PORT METHOD FILE WORKERS CONNECTIONS SECONDS RUN [TOKEN]
//
// FILE has one request a line, in hexadecimal. Where a request holds @@UNIQUE@@, each call gets other ten letters there:
// RUN and the call's number. TOKEN is a file with a bearer token.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const unique = "@@UNIQUE@@"

// headers of every call.
var headers = context.Background()

// raw passes messages through as they are.
type raw struct{}

func (raw) Name() string                       { return "proto" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

type seen struct {
	latencies []time.Duration
	errors    int
	problem   string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 8 && len(os.Args) != 9 {
		log.Fatal("usage: grpcload HOST:PORT METHOD FILE WORKERS CONNECTIONS SECONDS RUN [TOKEN]")
	}
	if len(os.Args) == 9 {
		token, err := os.ReadFile(os.Args[8])
		if err != nil {
			log.Fatal(err)
		}
		headers = metadata.AppendToOutgoingContext(headers, "authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	target, method, run := os.Args[1], os.Args[2], os.Args[7]
	requests := read(os.Args[3])
	workers, connections := number(os.Args[4]), number(os.Args[5])
	seconds, err := strconv.ParseFloat(os.Args[6], 64)
	if err != nil {
		log.Fatal(err)
	}
	var clients []*grpc.ClientConn
	for range connections {
		client, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			log.Fatal(err)
		}
		clients = append(clients, client)
	}
	var calls atomic.Int64
	results := make([]seen, workers)
	started := time.Now()
	until := started.Add(time.Duration(seconds * float64(time.Second)))
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			results[worker] = work(clients[worker%connections], method, requests, run, &calls, until)
		})
	}
	group.Wait()
	report(results, time.Since(started))
}

func work(client *grpc.ClientConn, method string, requests [][]byte, run string, calls *atomic.Int64, until time.Time) seen {
	var found seen
	for time.Now().Before(until) {
		call := calls.Add(1)
		request := requests[int(call)%len(requests)]
		if bytes.Contains(request, []byte(unique)) {
			request = bytes.ReplaceAll(request, []byte(unique), fmt.Appendf(nil, "%s%0*d", run, len(unique)-len(run), call))
		}
		var reply []byte
		before := time.Now()
		err := client.Invoke(headers, method, &request, &reply)
		found.latencies = append(found.latencies, time.Since(before))
		if err != nil {
			found.errors++
			found.problem = err.Error()
		}
	}
	return found
}

func report(results []seen, took time.Duration) {
	var all seen
	for _, one := range results {
		all.latencies = append(all.latencies, one.latencies...)
		all.errors += one.errors
		if one.problem != "" {
			all.problem = one.problem
		}
	}
	sort.Slice(all.latencies, func(a, b int) bool { return all.latencies[a] < all.latencies[b] })
	at := func(share float64) float64 {
		return float64(all.latencies[int(share*float64(len(all.latencies)-1))].Microseconds()) / 1000
	}
	printed, err := json.Marshal(map[string]any{
		"requests": len(all.latencies), "seconds": took.Seconds(), "p50_ms": at(0.5), "p99_ms": at(0.99),
		"errors": all.errors, "problem": all.problem,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(printed))
}

func read(path string) [][]byte {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	var requests [][]byte
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		request, err := hex.DecodeString(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		requests = append(requests, request)
	}
	if len(requests) == 0 {
		log.Fatalf("no requests in %s", path)
	}
	return requests
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil || value < 1 {
		log.Fatalf("%q is no positive number", text)
	}
	return value
}

// Sends numbered events by Lumberjack, with the client that Beats have for `output.logstash`, and
// waits for the acknowledgement of each window. Survives a restart of the server.
//
//	go run . HOST PORT COUNT
//
// What is not acknowledged is sent again, so that every event arrives at least once. Prints how many
// were acknowledged, and ends with 1 if one was not. The protocol has no secrets.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	lumberjack "github.com/elastic/go-lumber/client/v2"
)

const (
	windowEvents      = 250
	connectionWindows = 5
	// How long a server may be away.
	awayMax = 120 * time.Second
)

func main() {
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	address := net.JoinHostPort(os.Args[1], os.Args[2])
	var client *lumberjack.SyncClient
	acknowledged := 0
	for start := 0; start < count; start += windowEvents {
		events := window(start, min(start+windowEvents, count))
		// Every other connection compresses, as Beats do unless told not to.
		turn := start / windowEvents / connectionWindows
		if client != nil && start%(connectionWindows*windowEvents) == 0 {
			client.Close()
			client = nil
		}
		deadline := time.Now().Add(awayMax)
		for {
			err := error(nil)
			if client == nil {
				client, err = lumberjack.SyncDial(address,
					lumberjack.CompressionLevel(turn%2*3), lumberjack.Timeout(30*time.Second))
			}
			if err == nil {
				if _, err = client.Send(events); err == nil {
					break
				}
				client.Close()
			}
			client = nil
			if time.Now().After(deadline) {
				fmt.Fprintln(os.Stderr, "given up:", err)
				os.Exit(1)
			}
			fmt.Fprintln(os.Stderr, "again:", err)
			time.Sleep(300 * time.Millisecond)
		}
		acknowledged += len(events)
	}
	fmt.Printf("%d acknowledged, %d refused\n", acknowledged, count-acknowledged)
}

// Events as Filebeat sends them.
func window(start, end int) []interface{} {
	events := []interface{}{}
	for number := start; number < end; number++ {
		events = append(events, map[string]interface{}{
			"@timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
			"@metadata":  map[string]string{"beat": "filebeat", "type": "_doc", "version": "8.15.0"},
			"message":    fmt.Sprintf("event %d", number),
			"number":     number,
		})
	}
	return events
}

// Sends numbered events by the forward protocol, in all its forms, and asks for the acknowledgement
// of each chunk. Survives a restart of the server.
//
//	go run . HOST PORT COUNT [--secret SECRET]
//
// What is not acknowledged is sent again, so that every event arrives at least once. Prints how many
// were acknowledged, and ends with 1 if one was not.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/IBM/fluent-forward-go/fluent/client"
	"github.com/IBM/fluent-forward-go/fluent/protocol"
)

const (
	chunkEvents = 250
	// How long a server may be away.
	awayMax = 120 * time.Second
)

func main() {
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	options := client.ConnectionOptions{
		Factory:           &client.ConnFactory{Address: net.JoinHostPort(os.Args[1], os.Args[2])},
		RequireAck:        true,
		ConnectionTimeout: 20 * time.Second,
	}
	if len(os.Args) > 5 && os.Args[4] == "--secret" {
		options.AuthInfo.SharedKey = []byte(os.Args[5])
	}
	fluent := client.New(options)
	fluent.Hostname = "client"
	isConnected := false
	acknowledged := 0
	for start := 0; start < count; start += chunkEvents {
		end := min(start+chunkEvents, count)
		deadline := time.Now().Add(awayMax)
		for {
			err := error(nil)
			if !isConnected {
				if err = fluent.Reconnect(); err == nil && options.AuthInfo.SharedKey != nil {
					err = fluent.Handshake()
				}
				isConnected = err == nil
			}
			if isConnected {
				if err = send(fluent, start, end); err == nil {
					break
				}
			}
			isConnected = false
			if time.Now().After(deadline) {
				fmt.Fprintln(os.Stderr, "given up:", err)
				os.Exit(1)
			}
			fmt.Fprintln(os.Stderr, "again:", err)
			time.Sleep(300 * time.Millisecond)
		}
		acknowledged += end - start
	}
	fmt.Printf("%d acknowledged, %d refused\n", acknowledged, count-acknowledged)
}

// Sends a chunk in one of the forms, and returns when it is acknowledged.
func send(fluent *client.Client, start, end int) error {
	entries := protocol.EntryList{}
	for number := start; number < end; number++ {
		record := map[string]interface{}{
			"number":  number,
			"message": fmt.Sprintf("event %d", number),
		}
		entries = append(entries, protocol.EntryExt{Timestamp: protocol.EventTimeNow(), Record: record})
	}
	switch start / chunkEvents % 4 {
	case 0:
		return fluent.SendForward("clients.fluent", entries)
	case 1:
		return fluent.SendPacked("clients.fluent", entries)
	case 2:
		return fluent.SendCompressed("clients.fluent", entries)
	}
	for _, entry := range entries {
		if err := fluent.SendMessageExt("clients.fluent", entry.Record); err != nil {
			return err
		}
	}
	return nil
}

// Runs Google's own test server of Pub/Sub until standard input ends, and prints its address.
package main

import (
	"fmt"
	"io"
	"os"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	server := pstest.NewServer()
	defer server.Close()
	fmt.Println(server.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Reads and writes snapshots of schedules as Go programs do, for test_gob_snapshot_go.py.
//
// snapshot decode: a snapshot on standard input, {"key": "2006-01-02T15:04:05.999999999Z07:00"} on standard output.
// snapshot encode: the other way round.
package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Gob sends the names of types and fields: they are those of the Go scheduler's snapshots.
type VersionedSnapshot struct {
	Version int
	Ser     []byte
}

type SnapshotV1 struct {
	LastTimes map[string]*time.Time
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: snapshot decode|encode"))
	}
	input, err := io.ReadAll(os.Stdin)
	fail(err)
	var output []byte
	if os.Args[1] == "decode" {
		output, err = decode(input)
	} else {
		output, err = encode(input)
	}
	fail(err)
	_, err = os.Stdout.Write(output)
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func decode(input []byte) ([]byte, error) {
	var outer VersionedSnapshot
	if err := gob.NewDecoder(bytes.NewReader(input)).Decode(&outer); err != nil {
		return nil, err
	}
	if outer.Version != 1 {
		return nil, fmt.Errorf("version %d", outer.Version)
	}
	var inner SnapshotV1
	if err := gob.NewDecoder(bytes.NewReader(outer.Ser)).Decode(&inner); err != nil {
		return nil, err
	}
	return json.Marshal(inner.LastTimes)
}

func encode(input []byte) ([]byte, error) {
	var inner SnapshotV1
	if err := json.Unmarshal(input, &inner.LastTimes); err != nil {
		return nil, err
	}
	var ser, outer bytes.Buffer
	if err := gob.NewEncoder(&ser).Encode(inner); err != nil {
		return nil, err
	}
	err := gob.NewEncoder(&outer).Encode(VersionedSnapshot{Version: 1, Ser: ser.Bytes()})
	return outer.Bytes(), err
}

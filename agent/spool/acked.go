package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
)

// ackedMark remembers on disk how far the aggregator has a log, for those who look at
// a spool that no agent has open, and for the next start. It is written in place and
// not synced: an older one, or none that can be read, says that more waits than does.
type ackedMark struct{ file *os.File }

const (
	ackedFile   = "acked"
	ackedFormat = "reeve-acked 1 %020d "
)

func openAcked(path string) (*ackedMark, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &ackedMark{f}, nil
}

func encodeAcked(seq uint64) []byte {
	text := fmt.Sprintf(ackedFormat, seq)
	return fmt.Appendf([]byte(text), "%08x\n", crc32.Checksum([]byte(text), castagnoli))
}

// readAcked returns the mark in a file, or zero if there is none that can be read.
func readAcked(path string) (seq uint64, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !damage(err) {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(data), ackedFormat, &seq); err != nil || string(data) != string(encodeAcked(seq)) {
		return 0, nil
	}
	return seq, nil
}

func (m *ackedMark) write(seq uint64) error {
	if _, err := m.file.WriteAt(encodeAcked(seq), 0); err != nil {
		return fmt.Errorf("taking note of what is acknowledged: %w", err)
	}
	return nil
}

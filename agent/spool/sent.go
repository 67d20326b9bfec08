package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// sentMark remembers on disk that no record above a limit was ever handed to a
// session: such records can be spliced when they are given up, for nobody has
// seen where one frame ended and the next began. The limit runs ahead of what is
// handed out, so that it is seldom written. It is written in place: that needs
// no room on a full disk, and half a limit has the wrong checksum.
type sentMark struct {
	file  *os.File
	limit uint64
	// handed is the last record that was handed out, or may have been.
	handed uint64
}

const (
	sentFile   = "sent"
	sentFormat = "reeve-sent 1 %020d "
	sentAhead  = 1 << 12
)

// openSent reads the mark. Where there is none that can be read, all records up
// to last may have been handed out.
func openSent(path string, last uint64) (*sentMark, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	m := &sentMark{file: f}
	data := make([]byte, 64)
	n, _ := f.ReadAt(data, 0) // what cannot be read does not pass the check
	var limit uint64
	if _, err := fmt.Sscanf(string(data[:n]), sentFormat, &limit); err == nil && string(data[:n]) == string(encodeSent(limit)) {
		m.limit, m.handed = limit, limit
		return m, nil
	}
	m.handed = last
	if err := m.write(last); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func encodeSent(limit uint64) []byte {
	text := fmt.Sprintf(sentFormat, limit)
	return fmt.Appendf([]byte(text), "%08x\n", crc32.Checksum([]byte(text), castagnoli))
}

// reach takes note that the records up to seq are handed out.
func (m *sentMark) reach(seq uint64) error {
	if seq > m.limit {
		if err := m.write(seq + sentAhead); err != nil {
			return err
		}
	}
	m.handed = max(m.handed, seq)
	return nil
}

func (m *sentMark) write(limit uint64) error {
	if _, err := m.file.WriteAt(encodeSent(limit), 0); err != nil {
		return fmt.Errorf("taking note of what is shipped: %w", err)
	}
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("taking note of what is shipped: %w", err)
	}
	m.limit = limit
	return nil
}

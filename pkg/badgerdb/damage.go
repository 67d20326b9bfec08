package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrDamaged means that it is certain that a database is not what had been
// written. Whatever else keeps one from being opened (rights, another process, a
// full disk, too few descriptors, a newer format, anything that is not understood)
// says nothing about it.
var ErrDamaged = errors.New("the database is damaged")

// spare is how many files badger opens beside those that are there.
const spare = 16

// accessible returns why the files of a database could not be used, before badger
// tries: its own errors do not keep the kernel's. All are opened at once, as badger
// does. A directory that is not there yet is accessible.
func accessible(dir string) (err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var open []*os.File
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close())
		}
	}()
	var manifest, tables bool
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		switch filepath.Ext(e.Name()) {
		case ".sst":
			tables = true
		default:
			manifest = manifest || e.Name() == "MANIFEST"
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		open = append(open, f)
	}
	// In its place badger would make an empty one, and remove the tables.
	if tables && !manifest {
		return fmt.Errorf("%w: there are tables in %s and no MANIFEST", ErrDamaged, dir)
	}
	for range spare {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		open = append(open, f)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// proofs are words of badger's errors (4.9) that say for certain that what it read
// is not what was written. Many have no value of their own to compare with.
var proofs = []string{
	"checksum mismatch", "hash mismatch", "crc mismatch",
	"manifest has bad magic",
	"external magic number doesn't match",
	"Manifest file might be corrupted",
	"MANIFEST invalid", "MANIFEST removes non-existing table", "MANIFEST file has invalid manifestChange op",
	"file does not exist for table",
	"Invalid datakey id", "Encryption key mismatch", // there is no encryption: the sanity text is spoilt
	"Error while reading IV for key registry", "Error while reading sanity text",
	"While reading crc in keyRegistryIterator", "While reading protobuf in keyRegistryIterator", "While unmarshal of datakey",
	"end offset:", // a log that ends before its end
	"failed to read index", "failed to initialize biggest", "failed to initialize table", "failed to verify checksum",
	"ata corrupted", "ata is corrupted", "checksum length less than zero", "invalid checksum length",
	"block out of index",
	"unable to unmarshal", "cannot parse invalid wire-format data",
	"unexpected EOF",
}

// classify tells damage from what is not understood.
func classify(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if slices.ContainsFunc(hidden, func(word string) bool { return strings.Contains(text, word) }) {
		return err
	}
	damaged := slices.ContainsFunc(proofs, func(proof string) bool { return strings.Contains(text, proof) })
	if m := unsupported.FindStringSubmatch(text); m != nil {
		// A version that may come is another thing than one that will never be.
		damaged = len(m[1]) > 2
	}
	if damaged {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

var unsupported = regexp.MustCompile(`manifest has unsupported version: (\d+)`)

// hidden are words of errors of the kernel's that badger's errors have in them and
// do not wrap. With these nothing is certain.
var hidden = []string{
	"permission denied", "operation not permitted", "too many open files", "cannot allocate memory", "no space left on device",
	"disk quota exceeded", "read-only file system", "resource temporarily unavailable", "device or resource busy",
}

// explain puts what people run into most into words.
func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: do these files belong to another user?", err)
	case strings.Contains(err.Error(), "directory lock"):
		return fmt.Errorf("already running: another process has it open (%w)", err)
	}
	return err
}

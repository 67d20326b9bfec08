package wire

import (
	"github.com/cespare/xxhash/v2"
)

// Digest sums up assets, in whatever order they come: agent and aggregator each
// make one of what they know, and where the two are the same, so is what they know.
type Digest struct {
	// Assets is how many there are.
	Assets uint64
	// Sum is the XXH64 (seed 0) of each, over uid, a zero byte and hash, combined
	// by exclusive or.
	Sum uint64
}

// Add adds an asset: its uid, and the hash of its last version.
func (d *Digest) Add(uid string, hash []byte) {
	text := make([]byte, 0, 128)
	text = append(append(append(text, uid...), 0), hash...)
	d.Assets++
	d.Sum ^= xxhash.Sum64(text)
}

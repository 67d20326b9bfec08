package catalogue

import "math/bits"

// siteSet is a set of sites by their numbers.
type siteSet []uint64

func (s *siteSet) add(n int) {
	for len(*s) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s *siteSet) remove(n int) {
	if n/64 < len(*s) {
		(*s)[n/64] &^= 1 << (n % 64)
	}
}

func (s siteSet) has(n int) bool { return n/64 < len(s) && s[n/64]&(1<<(n%64)) != 0 }

func (s siteSet) len() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// common returns how many sites two sets have in common.
func (s siteSet) common(other siteSet) (n int) {
	for i := range min(len(s), len(other)) {
		n += bits.OnesCount64(s[i] & other[i])
	}
	return n
}

// all yields the sites in order.
func (s siteSet) all(yield func(int) bool) {
	for i, word := range s {
		for word != 0 {
			if !yield(i*64 + bits.TrailingZeros64(word)) {
				return
			}
			word &= word - 1
		}
	}
}

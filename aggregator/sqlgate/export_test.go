package sqlgate

import "time"

// SetTime has statements run for another time, for tests.
func (g *Gate) SetTime(d time.Duration) { g.time = d }

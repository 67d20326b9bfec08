package verb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// AsOf reads the moment that a flag gives; empty is now.
func (a *App) AsOf(text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return timestamppb.New(day), nil
	}
	at, err := ParseMoment(strings.TrimPrefix(text, "-"), a.Now())
	if err != nil {
		return nil, Usagef("--as-of %q: %v, or a date as in %s", text, err, a.Now().Format(time.DateOnly))
	}
	return timestamppb.New(at), nil
}

// ParseMoment reads a time, or an age before now.
func ParseMoment(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	age, err := time.ParseDuration(s)
	if err != nil || age < 0 {
		return time.Time{}, fmt.Errorf("must be an age as in 15m, 24h or 7d, or a time as in %s", now.UTC().Format(time.RFC3339))
	}
	return now.Add(-age), nil
}

// maxAge is the longest text that is an age or a date; a version's number is longer.
const maxAge = 12

// Point reads what --from or --to give.
func (a *App) Point(flag, text string) (version uint64, at *timestamppb.Timestamp, err error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && len(text) > maxAge {
		return n, nil, nil
	}
	if at, err = a.AsOf(text); err != nil {
		return 0, nil, Usagef("--%s %q: must be a time, a date, an age such as 7d, or the number of a version", flag, text)
	}
	return 0, at, nil
}

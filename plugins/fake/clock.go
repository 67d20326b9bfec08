package fake

import (
	"os"
	"time"
)

// ClockFile is the variable that names the file which says how far Clock is ahead,
// as in "-50m". While there is none it is right.
const ClockFile = "REEVE_FAKE_CLOCK_FILE"

// Clock is a wall clock that a test sets wrong.
func Clock() time.Time {
	data, err := os.ReadFile(os.Getenv(ClockFile))
	if err != nil {
		return time.Now()
	}
	ahead, err := time.ParseDuration(string(data))
	if err != nil {
		panic("fake: " + os.Getenv(ClockFile) + ": " + err.Error())
	}
	return time.Now().Add(ahead)
}

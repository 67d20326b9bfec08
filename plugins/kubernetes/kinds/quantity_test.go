package kinds

import (
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/reeve-cloud/reeve/pkg/document"
)

func TestQuantity(t *testing.T) {
	for text, want := range map[string]float64{
		`"4"`: 4, `4`: 4, `0.5`: 0.5, `"250m"`: 0.25, `"0.1"`: 0.1, `"100m"`: 0.1, `"1e3"`: 1000, `"1E3"`: 1000, `"1e-3"`: 0.001,
		`"-1"`: -1, `"+1"`: 1, `".5"`: 0.5, `"5."`: 5, `"1.5Gi"`: 1.5 * (1 << 30), `"100Mi"`: 100 << 20, `"1Ki"`: 1024, `"1Pi"`: 1 << 50,
		`"2Ti"`: 2 << 40, `"1Ei"`: 1 << 60, `"128974848"`: 128974848, `"129e6"`: 129e6, `"129M"`: 129e6, `"128974848000m"`: 128974848,
		`"1k"`: 1000, `"1G"`: 1e9, `"1T"`: 1e12, `"1P"`: 1e15, `"1E"`: 1e18, `"100n"`: 1e-7, `"100u"`: 1e-4, `"0"`: 0, `null`: 0,
		`"20Ei"`: math.MaxInt64, `"1e400"`: math.MaxInt64, `"-1e400"`: -math.MaxInt64,
	} {
		if got, err := quantity([]byte(text)); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{`""`, `"m"`, `"1 Gi"`, `"1gi"`, `"1K"`, `"1e"`, `"1e1.5"`, `"1Gi1"`, `"--1"`, `"1-"`, `"."`, `"Inf"`,
		`"0x10"`, `true`, `{}`} {
		if got, err := quantity([]byte(text)); err == nil || !strings.Contains(err.Error(), "quantity") {
			t.Errorf("%s = %v, %v, want an error", text, got, err)
		}
	}
}

// FuzzQuantity holds the reader against that of Kubernetes.
func FuzzQuantity(f *testing.F) {
	for _, text := range []string{"4", "250m", "1.5Gi", "1e3", "1E", "-0.1u", "12345678901234567890", "0.000000001", "9Ei", "1e", "Ki"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// The other one takes its time for exponents of many digits.
		if len(text) > 30 || strings.ContainsAny(text, `"\`) || strings.ContainsAny(text, "eE") && len(text) > 6 {
			t.Skip()
		}
		// It takes a suffix alone for 0, which the API server never writes.
		if number := strings.TrimLeft(text, "+-."); number == "" || number[0] > '9' {
			t.Skip()
		}
		got, err := quantity([]byte(`"` + text + `"`))
		want, wantErr := resource.ParseQuantity(text)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q = %v, %v, want %v, %v", text, got, err, want.String(), wantErr)
		}
		// There, less than a billionth is rounded up to it.
		if value := min(max(want.AsApproximateFloat64(), -math.MaxInt64), math.MaxInt64); err == nil &&
			math.Abs(got-value) > 1.1e-9+1e-12*math.Abs(value) {
			t.Errorf("%q = %v, want %v", text, got, value)
		}
	})
}

func TestAmounts(t *testing.T) {
	var a, b amounts
	if err := json.Unmarshal([]byte(`{"memory":"1Gi","cpu":"100m","example.com/\u0067pu":2}`), &a); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b = b.plus(a)
	}
	if got := facts(t, document.Object{{Name: "x", Value: b.tidy()}}); got != `{"x":{"cpu":0.3,"example.com/gpu":6,"memory":3221225472}}` {
		t.Errorf("three times: %s", got)
	}
	if a.get("cpu") != 0.1 {
		t.Errorf("what was added has changed: %v", a)
	}
	if got := b.milliCPU(); got != 300 {
		t.Errorf("%d milli-cores, want 300", got)
	}
	if got := (amounts{{"cpu", 0.0011}, {"memory", 1.5}}); got.milliCPU() != 2 || got.bytes("memory") != 2 {
		t.Errorf("rounded up: %d milli-cores, %d bytes", got.milliCPU(), got.bytes("memory"))
	}
	if got := (amounts{{"memory", math.MaxInt64}}).bytes("memory"); got != math.MaxInt64 {
		t.Errorf("the largest: %d", got)
	}
	for _, bad := range []string{`[]`, `"x"`, `{"cpu":{}}`, `{"cpu":"x"}`} {
		if err := json.Unmarshal([]byte(bad), &a); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if err := json.Unmarshal([]byte(`null`), &a); err != nil || a != nil {
		t.Errorf("null: %v, %v", a, err)
	}
}

func BenchmarkQuantity(b *testing.B) {
	texts := []string{"250m", "1.5Gi", "128974848"}
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, text := range texts {
				if _, err := quantity([]byte(text)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("apimachinery", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, text := range texts {
				if _, err := resource.ParseQuantity(text); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// canary is a made-up secret, and where it was planted.
type canary struct {
	Canary     string `json:"canary"`
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	// Field says where in the object it is. What is made from the object, such as
	// the pods of a Deployment, has it too.
	Field string `json:"field"`
	// Forms are what to look for: the canary, and what is always there of it in
	// base64, and in base64 of that, at each of the three offsets.
	Forms []string `json:"forms"`
	// Packed says that it is in none of these forms in the object: it is
	// compressed, in a Helm release.
	Packed bool `json:"packed,omitempty"`
}

// newCanary makes up a secret that nobody can guess without the cluster, and that
// is the same each time the cluster is filled.
func newCanary(cluster, document, field string) *canary {
	sum := sha256.Sum256([]byte(cluster + "\x00" + document + "\x00" + field))
	c := &canary{Canary: "Cnry" + hex.EncodeToString(sum[:12]), Field: field}
	c.Forms = append([]string{c.Canary}, base64Forms(c.Canary)...)
	for _, once := range c.Forms[1:] {
		c.Forms = append(c.Forms, base64Forms(once)...)
	}
	return c
}

// base64Forms returns those parts of the base64 of any text with a string in it
// that depend on the string alone, for each offset it may have in the text.
func base64Forms(s string) (forms []string) {
	for offset := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("-", offset) + s))
		// A character has six bits: the first to be all in s, and the last.
		from, to := (offset*8+5)/6, (offset+len(s))*8/6
		forms = append(forms, encoded[from:to])
	}
	return forms
}

// writeCanaries writes all that were planted to a file.
func (s *seeder) writeCanaries(file string) error {
	seen := map[string]string{}
	for _, c := range s.canaries {
		where := fmt.Sprintf("%s %s/%s: %s", c.Kind, c.Namespace, c.Name, c.Field)
		if before, ok := seen[c.Canary]; ok {
			return fmt.Errorf("the same canary is at %s and at %s: give the places different names", before, where)
		}
		seen[c.Canary] = where
	}
	if len(seen) == 0 {
		return errors.New("no canary was planted")
	}
	slices.SortFunc(s.canaries, func(a, b *canary) int {
		return strings.Compare(a.Kind+"\x00"+a.Name+"\x00"+a.Field, b.Kind+"\x00"+b.Name+"\x00"+b.Field)
	})
	data, err := json.MarshalIndent(s.canaries, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}

// uuid makes a UUID out of a name.
func uuid(name string) string {
	sum := sha256.Sum256([]byte(name))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

package scrub

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
)

const (
	// helmType begins the type of Helm's Secrets: helm.sh/release.v1.
	helmType = "helm.sh/release"
	// maxRelease is how large a release may be once it is decompressed. Stored,
	// it has at most 1 MiB.
	maxRelease = 32 << 20
	// maxValueKeys is how many paths of values are told, maxValuePath how much of
	// each, and maxGathered how many are counted.
	maxValueKeys = 500
	maxValuePath = 256
	maxGathered  = 10_000
)

// release is what is told of a release of Helm's.
type release struct {
	Name      string `json:"name,omitzero"`
	Namespace string `json:"namespace,omitzero"`
	Revision  int    `json:"revision,omitzero"`
	Status    string `json:"status,omitzero"`
	Chart     chart  `json:"chart,omitzero"`
	// The times are as Helm wrote them, in RFC 3339.
	FirstDeployed string `json:"firstDeployed,omitzero"`
	LastDeployed  string `json:"lastDeployed,omitzero"`
	// ValueKeys are the paths of the values that the user set. MoreValueKeys is
	// how many there are beyond those listed, as far as they were counted.
	ValueKeys     []string `json:"valueKeys,omitzero"`
	MoreValueKeys int      `json:"moreValueKeys,omitzero"`
	// Error says why all else is from labels, or missing.
	Error string `json:"error,omitzero"`
}

type chart struct {
	Name       string `json:"name,omitzero"`
	Version    string `json:"version,omitzero"`
	AppVersion string `json:"appVersion,omitzero"`
}

// ofHelm reports whether the object is where Helm keeps a release.
func (p *pass) ofHelm(k kind) bool {
	switch k {
	case secret:
		return p.helmType
	case configMap:
		return p.labels["owner"] == "helm" || p.helm2()
	}
	return false
}

// helm2 reports whether the object is Helm 2's, which kept releases in protobuf.
func (p *pass) helm2() bool { return p.labels["OWNER"] == "TILLER" }

// appendRelease adds the member "release" to the object that is being written,
// if it is one of Helm's.
func (p *pass) appendRelease(k kind) error {
	if !p.ofHelm(k) || p.release == nil {
		return nil
	}
	var r release
	r.Name, r.Status = p.labels["name"], p.labels["status"]
	r.Revision, _ = strconv.Atoi(p.labels["version"])
	if p.helm2() {
		r.Name, r.Status = p.labels["NAME"], p.labels["STATUS"]
		r.Revision, _ = strconv.Atoi(p.labels["VERSION"])
	} else if err := r.decode(p.unquote(p.release), k == secret); err != nil {
		r.Error = err.Error()
	}
	doc, err := json.Marshal(r, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	p.out = append(append(p.out, `,"release":`...), doc...)
	return nil
}

// decode reads a payload: JSON, compressed with gzip, in base64, and in a Secret
// in base64 once more. Its errors quote nothing of it.
func (r *release) decode(payload []byte, inSecret bool) error {
	if len(payload) == 0 {
		return errors.New("the payload is empty")
	}
	var stream io.Reader = bytes.NewReader(payload)
	if inSecret {
		stream = base64.NewDecoder(base64.StdEncoding, stream)
	}
	plain := bufio.NewReader(base64.NewDecoder(base64.StdEncoding, stream))
	stream = plain
	// Releases from before Helm compressed them are not.
	if magic, _ := plain.Peek(3); string(magic) == "\x1f\x8b\x08" {
		unzip, err := gzip.NewReader(plain)
		if err != nil {
			return fmt.Errorf("decompressing the payload: %w", err)
		}
		stream = unzip
	}

	var stored struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Version   int    `json:"version"`
		Info      struct {
			FirstDeployed string `json:"first_deployed"`
			LastDeployed  string `json:"last_deployed"`
			Status        string `json:"status"`
		} `json:"info"`
		Chart struct {
			Metadata chart `json:"metadata"`
		} `json:"chart"`
		Config jsontext.Value `json:"config"`
	}
	err := json.UnmarshalRead(&bounded{r: stream, left: maxRelease}, &stored,
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var syntax *jsontext.SyntacticError
	var semantics *json.SemanticError
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case errors.As(err, &syntax):
		return fmt.Errorf("the JSON of the payload is broken at byte %d", syntax.ByteOffset)
	case errors.As(err, &semantics):
		return fmt.Errorf("the payload has a value of an unexpected type at %s", semantics.JSONPointer)
	case err != nil:
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return fmt.Errorf("decoding the payload: %w", err)
	case stored.Name == "":
		return errors.New("the payload is not a release: it has no name")
	}
	r.Name, r.Namespace, r.Revision, r.Status = stored.Name, stored.Namespace, stored.Version, stored.Info.Status
	r.Chart = stored.Chart.Metadata
	r.FirstDeployed, r.LastDeployed = timestamp(stored.Info.FirstDeployed), timestamp(stored.Info.LastDeployed)
	if len(stored.Config) > 0 {
		return r.readKeys(stored.Config)
	}
	return nil
}

// timestamp returns a text if it is a time.
func timestamp(s string) string {
	if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
		return ""
	}
	return s
}

func (r *release) readKeys(config jsontext.Value) error {
	paths := make(map[string]struct{})
	if err := valuePaths(newDecoder(config), nil, paths); err != nil {
		return errors.New("the values in the payload cannot be read")
	}
	r.ValueKeys = make([]string, 0, len(paths))
	for path := range paths {
		r.ValueKeys = append(r.ValueKeys, path)
	}
	slices.Sort(r.ValueKeys)
	if len(r.ValueKeys) > maxValueKeys {
		r.MoreValueKeys = len(r.ValueKeys) - maxValueKeys
		r.ValueKeys = r.ValueKeys[:maxValueKeys]
	}
	return nil
}

// valuePaths gathers the paths of all that is neither an object nor an array
// with something in it: keys joined by dots, without places in arrays.
func valuePaths(dec *jsontext.Decoder, path []byte, paths map[string]struct{}) error {
	open := dec.PeekKind()
	if open != '{' && open != '[' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		addPath(path, paths)
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	n := 0
	for ; dec.PeekKind() != '}' && dec.PeekKind() != ']'; n++ {
		under := path
		if open == '{' {
			name, err := dec.ReadToken()
			if err != nil {
				return err
			}
			if len(under) > 0 && len(under) < maxValuePath {
				under = append(under, '.')
			}
			key := name.String()
			under = append(under, key[:min(len(key), max(0, maxValuePath-len(under)))]...)
		}
		if err := valuePaths(dec, under, paths); err != nil {
			return err
		}
	}
	if n == 0 {
		addPath(path, paths)
	}
	_, err := dec.ReadToken()
	return err
}

func addPath(path []byte, paths map[string]struct{}) {
	if len(path) > 0 && len(paths) < maxGathered {
		paths[string(path)] = struct{}{}
	}
}

var errTooLarge = fmt.Errorf("the payload has more than %d MiB decompressed", maxRelease>>20)

// bounded reads so much and no more: beyond lies an error, not an end.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(buf []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(buf[:min(len(buf), b.left)])
	b.left -= n
	return n, err
}

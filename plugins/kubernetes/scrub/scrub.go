// Package scrub takes secret values out of Kubernetes objects, and what is of no
// use in an inventory, before anything leaves the collector. It errs on the side
// of taking too much.
//
// It does what needs knowledge of Kubernetes, of the tools around it and of
// their custom resources. What shows by the name of a key (password, apiToken),
// or by the form of a text (--password x, postgres://user:x@db, a private key),
// is left to the redaction that every document of every collector passes later.
//
// What is taken, at any depth, so that it holds for workloads and manifests
// embedded in custom resources too:
//
//   - metadata: managedFields, selfLink, resourceVersion. The version of a Secret
//     or ConfigMap stays where its values are left out, for it alone shows that
//     a value changed.
//   - Annotations that hold whole manifests (last-applied-configuration and its
//     kin) become "[left out]". The size is not told: what changed shows in the
//     object, and an apply that changed nothing shall not look like a change.
//   - Secrets: each of data and stringData becomes {"bytes": N}, the size of the
//     value. So do the data of templates that Secrets are made from (SealedSecret,
//     ExternalSecret), and, unless ConfigMapValues is set, those of ConfigMaps.
//     Anything that says kind: Secret is one, whatever its group.
//   - Helm's releases, in Secrets or ConfigMaps: a top-level "release" tells what
//     is installed and which values the user set, by their paths; never values,
//     manifests, notes, hooks, templates, or the description, which may quote any
//     of them.
//   - Literal values of environment variables, in whatever spelling (Env, env_vars,
//     Name and Value, key and val): under env and keys like it (extraEnv, environment, envVars; substitute, literals, vars, buildArgs), as
//     {"name", "value"}, as maps, or as texts A=B. So are literal values of what
//     often becomes one: parameters, params, variables and connectionDetails in
//     arrays (Argo, Tekton, OpenShift, Cluster API, Crossplane). valueFrom stays,
//     and so do parameters in a map, which are those of storage classes.
//   - Values of Helm charts in custom resources (values, valuesObject,
//     valuesContent, set ...; Flux, Argo CD, Rancher, Crossplane, Cluster API):
//     keys stay, texts and numbers are masked; values in one text become
//     {"bytes": N}. There is no switch to keep them.
//   - Contents of files (also the data or text of one in a list of files), and
//     what a machine is first booted with: content, contents, userData, networkData, cloudInit, ignition and their like
//     (Cluster API, KubeVirt, Metal3, MachineConfig), and data URLs, become
//     {"bytes": N}. References to them stay.
//   - Certificates and requests for them (caBundle, CSRs): they are public, but
//     long, and become {"bytes": N, "sha256": "..."} of what they decode to, so
//     that a rotation shows.
//   - Any other text over 16 KiB, and any that has a manifest of a Secret in it,
//     becomes {"bytes": N}. There is no hash, for a hash confirms a guess.
//
// Empty texts, booleans and null stay: they tell that nothing is set, or how a
// thing is switched, and hold no secret.
package scrub

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

const (
	// mask stands where a secret value was; the agent's redaction writes the same.
	mask = `"[redacted]"`
	// leftOut stands in annotations, whose values are texts.
	leftOut = `"[left out]"`
	// maxText is the size of the longest text that is taken.
	maxText = 16 << 10
	// maxDepth is how deeply an object may be nested; no deeper document is taken.
	maxDepth = 128
)

// Scrubber takes secret values out of objects. The zero value takes out most.
type Scrubber struct {
	// ConfigMapValues keeps the values of ConfigMaps.
	ConfigMapValues bool
	// EnvValues keeps literal values of environment variables and of parameters.
	EnvValues bool
}

// Object returns the object as JSON without secrets. It does not change o.
func (s Scrubber) Object(o *object.Object) (json.RawMessage, error) {
	k := other
	if o.Kind.Group == "" {
		k = kindNamed([]byte(o.Kind.Kind))
	}
	p := pass{
		Scrubber:    s,
		raw:         o.Raw,
		dec:         newDecoder(o.Raw),
		out:         make([]byte, 0, len(o.Raw)+len(mask)),
		labels:      o.Meta.Labels,
		keepVersion: (k == secret || k == configMap && !s.ConfigMapValues) && !ticks(o.Meta.Annotations),
	}
	if err := p.whole(k); err != nil {
		return nil, fmt.Errorf("taking secrets out of %s %s/%s: %w", o.Kind, o.Meta.Namespace, o.Meta.Name, err)
	}
	return p.out, nil
}

// What custom resources hold was checked by the API server, duplicate names and
// broken UTF-8 perhaps not.
func newDecoder(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// ticks reports whether an object is written all the time to say that somebody
// is alive: leader election with ConfigMaps, the status of the autoscaler.
func ticks(annotations map[string]string) bool {
	for _, key := range []string{"control-plane.alpha.kubernetes.io/leader", "cluster-autoscaler.kubernetes.io/last-updated"} {
		if _, ok := annotations[key]; ok {
			return true
		}
	}
	return false
}

// kind is that of an object, or of one embedded in it, as far as it matters.
type kind int

const (
	other kind = iota
	secret
	configMap
	// secretTemplate is what a controller makes a Secret from.
	secretTemplate
)

func kindNamed(name []byte) kind {
	switch string(name) {
	case "Secret":
		return secret
	case "ConfigMap":
		return configMap
	}
	return other
}

// pass is one pass over the tokens of an object.
type pass struct {
	Scrubber
	raw         []byte
	dec         *jsontext.Decoder
	out         []byte
	labels      map[string]string
	keepVersion bool
	depth       int // of objects and arrays: 1 is the whole object
	// scratch is where strings with escapes are taken apart.
	scratch []byte
	// helmType says that the object is a Secret of Helm's, and release is what
	// the key of that name has in a Secret or ConfigMap, as in the input.
	helmType bool
	release  jsontext.Value
}

func (p *pass) whole(k kind) error {
	if p.dec.PeekKind() != '{' {
		return errors.New("it is not a JSON object")
	}
	if err := p.object(anywhere, k); err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF { //nolint:errorlint // a wrapped one is no clean end
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// value copies one value as its place asks for.
func (p *pass) value(at place) error {
	switch p.dec.PeekKind() {
	case '{':
		switch at {
		case templateKey:
			return p.object(anywhere, secretTemplate)
		case schemaKey:
			raw, err := p.dec.ReadValue()
			p.out = append(p.out, raw...)
			return err
		}
		return p.object(at, other)
	case '[':
		return p.array(at)
	}
	raw, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	p.scalar(at, raw)
	return nil
}

func (p *pass) array(at place) error {
	if err := p.open('['); err != nil {
		return err
	}
	item := at.item()
	for n := 0; p.dec.PeekKind() != ']'; n++ {
		if n > 0 {
			p.out = append(p.out, ',')
		}
		if err := p.value(item); err != nil {
			return err
		}
	}
	return p.close(']')
}

func (p *pass) object(at place, k kind) error {
	if err := p.open('{'); err != nil {
		return err
	}
	// Whose data these are is often known at the end only.
	var data []member
	for n := 0; p.dec.PeekKind() != '}'; {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		key := p.unquote(name)
		if at == metadataKey && p.dropped(key) {
			if err := p.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if n++; n > 1 {
			p.out = append(p.out, ',')
		}
		p.out = append(append(p.out, name...), ':')
		what := meaningOf(key)
		m := member{what: what, from: len(p.out), inFrom: p.dec.InputOffset()}
		if err := p.value(p.under(at, key)); err != nil {
			return err
		}
		if what == nothing {
			continue
		}
		m.to, m.in = len(p.out), p.input(m.inFrom)
		switch what {
		case kindName:
			// What is a Secret by one word is no less by another.
			if named := kindNamed(p.unquote(m.in)); named != other && k != secret {
				k = named
			}
		case typeName:
			p.helmType = p.helmType || p.depth == 1 && bytes.HasPrefix(p.unquote(m.in), []byte(helmType))
		default:
			data = append(data, m)
		}
	}
	// What is masked as a whole stays so.
	if k != other && at != hidden {
		if err := p.replace(data, k); err != nil {
			return err
		}
	}
	if p.depth == 1 {
		if err := p.appendRelease(k); err != nil {
			return err
		}
	}
	return p.close('}')
}

// member is a member of an object that means something for the whole of it.
type member struct {
	what     meaning
	inFrom   int64
	in       jsontext.Value // its value in the input
	from, to int            // where its value stands in the output
}

type meaning int

const (
	nothing meaning = iota
	kindName
	typeName
	dataOf // of a Secret in base64, of a ConfigMap or template as text
	stringData
	binaryData
)

func meaningOf(key []byte) meaning {
	switch string(key) {
	case "kind":
		return kindName
	case "type":
		return typeName
	case "data":
		return dataOf
	case "stringData":
		return stringData
	case "binaryData":
		return binaryData
	}
	return nothing
}

// dropped reports whether a member of metadata is left out.
func (p *pass) dropped(key []byte) bool {
	switch string(key) {
	case "managedFields", "selfLink":
		return true
	case "resourceVersion":
		return p.depth != 2 || !p.keepVersion
	}
	return false
}

// replace writes the data of an object anew, now that its kind is known.
func (p *pass) replace(data []member, k kind) error {
	for _, m := range slices.Backward(data) {
		rest := bytes.Clone(p.out[m.to:])
		p.out = p.out[:m.from]
		if err := p.data(m, k); err != nil {
			return err
		}
		p.out = append(p.out, rest...)
	}
	return nil
}

// data writes data of a Secret or ConfigMap: their keys with the sizes of their
// values.
func (p *pass) data(m member, k kind) error {
	switch m.in.Kind() {
	case 'n':
		p.out = append(p.out, m.in...)
		return nil
	case '{':
	default:
		p.size(len(m.in))
		return nil
	}
	dec := newDecoder(m.in)
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	inBase64 := m.what == binaryData || m.what == dataOf && k == secret
	p.out = append(p.out, '{')
	for n := 0; dec.PeekKind() != '}'; n++ {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if n > 0 {
			p.out = append(p.out, ',')
		}
		p.out = append(append(p.out, name...), ':')
		helms := p.depth == 1 && string(p.unquote(name)) == "release"
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if helms {
			p.release = bytes.Clone(raw)
		}
		if k == configMap && p.ConfigMapValues && raw.Kind() == '"' && !holdsSecret(raw) && !(helms && p.ofHelm(k)) {
			p.out = append(p.out, raw...)
			continue
		}
		p.sizeOf(raw, inBase64)
	}
	p.out = append(p.out, '}')
	return nil
}

// scalar copies a text, number, boolean or null.
func (p *pass) scalar(at place, raw jsontext.Value) {
	secret := at == hidden || at == envMember
	switch {
	case raw.Kind() == '"' && len(raw) > len(`""`) && !secret:
		p.string(at, raw)
	case raw.Kind() == '"' && len(raw) > len(`""`), raw.Kind() == '0' && secret:
		p.out = append(p.out, mask...)
	default:
		p.out = append(p.out, raw...)
	}
}

func (p *pass) string(at place, raw jsontext.Value) {
	switch at {
	case envItem: // A=b
		name, _, ok := bytes.Cut(raw, []byte{'='})
		switch {
		case bytes.IndexByte(raw, '\\') >= 0: // an escape may be cut
			p.out = append(p.out, mask...)
			return
		case ok:
			p.out = append(append(append(p.out, name...), '='), mask[1:]...)
			return
		}
	case annotation: // stays a text
		if len(raw) > maxText || holdsManifest(raw) {
			raw = jsontext.Value(leftOut)
		}
		p.out = append(p.out, raw...)
		return
	case manifestKey:
		p.out = append(p.out, leftOut...)
		return
	case valuesKey, fileKey:
		p.sizeOf(raw, false)
		return
	case valuesItem:
		if isYAML(raw) {
			p.sizeOf(raw, false)
			return
		}
	case certificateKey:
		p.fingerprint(raw)
		return
	}
	switch {
	case isCertificate(raw):
		p.fingerprint(raw)
	case len(raw) > maxText || isDataURL(raw) || holdsSecret(raw):
		p.sizeOf(raw, false)
	default:
		p.out = append(p.out, raw...)
	}
}

// sizeOf writes the size of what a value holds.
func (p *pass) sizeOf(raw jsontext.Value, inBase64 bool) {
	switch raw.Kind() {
	case 'n':
		p.out = append(p.out, raw...)
	case '"':
		text := p.unquote(raw)
		n := len(text)
		if inBase64 {
			n = base64.RawStdEncoding.DecodedLen(len(bytes.TrimRight(text, "=")))
		}
		p.size(n)
	default:
		p.size(len(raw))
	}
}

func (p *pass) size(n int) {
	p.out = append(strconv.AppendInt(append(p.out, `{"bytes":`...), int64(n), 10), '}')
}

// fingerprint writes the size and the hash of a text, or of what it encodes.
func (p *pass) fingerprint(raw jsontext.Value) {
	text := p.unquote(raw)
	if decoded, err := base64.StdEncoding.AppendDecode(nil, text); err == nil {
		text = decoded
	}
	p.out = fmt.Appendf(p.out, `{"bytes":%d,"sha256":"%x"}`, len(text), sha256.Sum256(text))
}

// unquote returns the text of a string that a decoder has read, and nothing for
// another value. It is valid until the next call.
func (p *pass) unquote(raw jsontext.Value) []byte {
	if raw.Kind() != '"' {
		return nil
	}
	if text := raw[1 : len(raw)-1]; bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	// The decoder has checked it; what is left to fail is UTF-8, which is mended.
	p.scratch, _ = jsontext.AppendUnquote(p.scratch[:0], raw)
	return p.scratch
}

// input returns the value that was just read, from where its name ended.
func (p *pass) input(from int64) jsontext.Value {
	return bytes.TrimLeft(p.raw[from:p.dec.InputOffset()], ": \t\r\n")
}

func (p *pass) open(bracket byte) error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	return p.token(bracket)
}

func (p *pass) close(bracket byte) error {
	p.depth--
	return p.token(bracket)
}

func (p *pass) token(bracket byte) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.out = append(p.out, bracket)
	return nil
}

package scrub

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// place says where a value stands, and so what becomes of it.
type place int

const (
	anywhere place = iota
	// hidden texts and numbers are masked, however deep they lie.
	hidden
	metadataKey
	annotationsKey
	annotation
	manifestKey // an annotation that holds a manifest
	envKey
	envItem   // in an array
	envMember // in a map
	parametersKey
	named     // an item with a name and a value
	valuesKey // values of a Helm chart
	valuesItem
	fileKey
	filesKey // a list of files
	file
	certificateKey
	templateKey
	schemaKey
)

// item returns the place of the items of an array that stands here.
func (at place) item() place {
	switch at {
	case hidden, fileKey, certificateKey:
		return at
	case envMember:
		return hidden
	case envKey:
		return envItem
	case parametersKey:
		return named
	case valuesKey:
		return valuesItem
	case filesKey:
		return file
	}
	return anywhere
}

// under returns the place of a member of an object that stands at a place.
func (p *pass) under(at place, key []byte) place {
	var room [maxFolded]byte
	switch at {
	case hidden, valuesKey:
		return hidden
	case annotationsKey:
		return annotationNamed(key)
	case envKey:
		return envMember
	case envItem, envMember, named, valuesItem:
		switch string(folded(key, &room)) {
		case "value", "val", "v", "string", "array", "map", // three are Argo CD's
			"stringvalue", "envvalue", "paramvalue", "parametervalue", "variablevalue", "literal", "plaintext":
			return hidden
		}
	case file:
		switch string(key) {
		case "data", "text", "body", "raw", "b64", "base64":
			return fileKey
		}
	}
	at = placeOf(key)
	if p.EnvValues && (at == envKey || at == parametersKey) {
		return anywhere
	}
	return at
}

// placeOf returns what a key says of its value in any object.
func placeOf(key []byte) place {
	switch string(key) {
	case "metadata":
		return metadataKey
	case "annotations":
		return annotationsKey
	case "template", "secretTemplate":
		return templateKey
	case "openAPIV3Schema":
		// Its keys are names of fields, and it has no values.
		return schemaKey
	}
	if mayBePlace(key) {
		var room [maxFolded]byte
		if at, ok := places[string(folded(key, &room))]; ok {
			return at
		}
	}
	switch {
	case bytes.HasSuffix(key, []byte("nnotations")): // podAnnotations, commonAnnotations
		return annotationsKey
	case endsInEnv(key):
		return envKey
	case hasSuffixFold(key, "userdata"), hasSuffixFold(key, "user-data"), hasSuffixFold(key, "user_data"):
		return fileKey
	}
	return anywhere
}

// places are those that a key tells of in whatever spelling, folded.
var places = func() map[string]place {
	m := make(map[string]place)
	for at, keys := range map[place]string{
		// Some of these are put into the environment, or into texts, by their names.
		envKey: "env envs envvar envvars envvariables environment environmentvars environmentvariables substitute literals vars " +
			"extravars buildargs",
		parametersKey: "parameters params variables connectiondetails",
		valuesKey:     "values valuesobject valuescontent valuestemplate valuesinline valuesliteral helmvalues chartvalues set setstring",
		fileKey: "content contents contentbase64 contentsbase64 inline chartcontent userdata userdatabase64 networkdata networkdatabase64 " +
			"vendordata cloudinit cloudconfig ignition ignitionconfig butane additionalconfig kickstart preseed sysprep unattend bootstrapdata",
		filesKey:       "files writefiles extrafiles",
		certificateKey: "cabundle",
	} {
		for key := range strings.FieldsSeq(keys) {
			m[key] = at
		}
	}
	return m
}()

// placeEnds has for the first letter of such a key a bit for each that is its last.
var placeEnds = func() (ends [32]uint32) {
	for key := range places {
		ends[key[0]&31] |= 1 << (key[len(key)-1] & 31)
	}
	return ends
}()

// mayBePlace keeps nearly all keys from being folded. Of a letter the last five
// bits are the same in both cases.
func mayBePlace(key []byte) bool {
	return len(key) > 0 && placeEnds[key[0]&31]>>(key[len(key)-1]&31)&1 != 0
}

// maxFolded is the length of the longest key that a place is known by.
const maxFolded = 24

// folded returns a key in small letters, without marks between its words: people
// spell them as they like. It returns nothing for a longer one, and uses the room where there
// is something to change.
func folded(key []byte, room *[maxFolded]byte) []byte {
	if len(key) > maxFolded {
		return nil
	}
	same := 0
	for same < len(key) && key[same] >= 'a' {
		same++
	}
	if same == len(key) {
		return key
	}
	n := copy(room[:], key[:same])
	for _, c := range key[same:] {
		if c == '_' || c == '-' {
			continue
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		room[n] = c
		n++
	}
	return room[:n]
}

// endsInEnv matches extraEnv, driverEnvVars, containerEnvironment ...
func endsInEnv(key []byte) bool {
	if !bytes.Contains(key, []byte("nv")) {
		return false
	}
	for _, end := range []string{
		"Env", "Envs", "EnvVar", "EnvVars", "EnvVariables", "Environment", "EnvironmentVars", "EnvironmentVariables",
		"_env", "-env", "_envs", "-envs",
	} {
		if bytes.HasSuffix(key, []byte(end)) {
			return true
		}
	}
	return false
}

// hasSuffixFold expects the end in lower case.
func hasSuffixFold(key []byte, end string) bool {
	return len(key) >= len(end) && bytes.EqualFold(key[len(key)-len(end):], []byte(end))
}

// annotationNamed knows the annotations in which tools keep what they applied:
// kubectl, k0s, banzai, kopf (last-applied, last-handled), Rancher's object sets
// (applied), kapp (original, original-diff), and who takes after them; and those
// with templates that an injector writes secrets into.
func annotationNamed(key []byte) place {
	last := bytes.ToLower(key[bytes.LastIndexByte(key, '/')+1:])
	if string(last) == "applied" || bytes.HasPrefix(last, []byte("original")) {
		return manifestKey
	}
	for _, part := range []string{"last-applied", "lastapplied", "last-handled", "manifest", "inject-template"} {
		if bytes.Contains(last, []byte(part)) {
			return manifestKey
		}
	}
	return annotation
}

// These look at strings as they stand in JSON, quotes and escapes included.

// holdsManifest reports whether an annotation holds a whole object, under
// whatever name.
func holdsManifest(raw jsontext.Value) bool {
	return bytes.Contains(raw, []byte("apiVersion")) || isDataURL(raw) || holdsSecret(raw)
}

var secretKind = regexp.MustCompile(`kind[\\"']*\s*:[\\"'\s]*Secret(?:[^A-Za-z0-9]|$)`)

// holdsSecret reports whether a text has a manifest of a Secret in it.
func holdsSecret(raw jsontext.Value) bool {
	return len(raw) > 30 && bytes.Contains(raw, []byte("Secret")) && secretKind.Match(raw)
}

// isYAML tells YAML in an array named "values" from the values of a selector.
func isYAML(raw jsontext.Value) bool {
	return bytes.Contains(raw, []byte(`: `)) || bytes.Contains(raw, []byte(`\n`))
}

func isDataURL(raw jsontext.Value) bool {
	rest, ok := bytes.CutPrefix(raw, []byte(`"data:`))
	return ok && rest[0] != ' ' && bytes.IndexByte(rest, ',') >= 0
}

// isCertificate reports whether a text begins with a certificate or a request
// for one, in PEM, or with PEM in base64.
func isCertificate(raw jsontext.Value) bool {
	return bytes.HasPrefix(raw, []byte(`"-----BEGIN CERTIFICATE`)) || bytes.HasPrefix(raw, []byte(`"LS0tLS1CRUdJTiBDRVJUSUZJQ0FUR`))
}

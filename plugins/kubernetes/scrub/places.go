package scrub

import (
	"bytes"
	"regexp"

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
	}
	return anywhere
}

// under returns the place of a member of an object that stands at a place.
func (p *pass) under(at place, key []byte) place {
	switch at {
	case hidden, valuesKey:
		return hidden
	case annotationsKey:
		return annotationNamed(key)
	case envKey:
		return envMember
	case envItem, envMember, named, valuesItem:
		switch string(key) {
		case "value", "string", "array", "map": // the last three are Argo CD's
			return hidden
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
	case "env", "envs", "envVar", "envVars", "envVariables", "env_vars",
		"environment", "environmentVars", "environmentVariables", "environment_variables",
		// These are put into the environment, or into texts, by their names.
		"substitute", "literals", "vars", "extraVars", "buildArgs":
		return envKey
	case "parameters", "params", "variables", "connectionDetails":
		return parametersKey
	case "values", "valuesObject", "valuesContent", "valuesTemplate", "valuesInline", "valuesLiteral",
		"helmValues", "chartValues", "set", "setString":
		return valuesKey
	case "content", "contents", "contentBase64", "contentsBase64", "inline", "chartContent",
		"userData", "userDataBase64", "networkData", "networkDataBase64", "vendorData",
		"cloudInit", "cloudConfig", "cloud-config", "ignition", "ignitionConfig", "butane", "additionalConfig",
		"kickstart", "preseed", "sysprep", "unattend", "bootstrapData":
		return fileKey
	case "caBundle":
		return certificateKey
	case "openAPIV3Schema":
		// Its keys are names of fields, and it has no values.
		return schemaKey
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
// (applied), kapp (original, original-diff), and who takes after them.
func annotationNamed(key []byte) place {
	last := bytes.ToLower(key[bytes.LastIndexByte(key, '/')+1:])
	if string(last) == "applied" || bytes.HasPrefix(last, []byte("original")) {
		return manifestKey
	}
	for _, part := range []string{"last-applied", "lastapplied", "last-handled", "manifest"} {
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

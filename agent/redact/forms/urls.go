package forms

import (
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// What addresses have that is a secret.
const (
	byPassword = "password in an address"
	byUser     = "user in an address that is a token"
	byPath     = "path of an address"
)

// Addresses finds passwords in addresses, and what a part of a path says to nobody:
// webhooks and manifests for joining carry their secret there.
func Addresses(s string) (found Secrets) {
	if !strings.Contains(s, "@") && !strings.Contains(s, "//") {
		return nil
	}
	end, walked := 0, 0
	for at := 0; ; {
		n := strings.Index(s[at:], "//")
		if n < 0 {
			break
		}
		begin := at + n + 2
		for end = max(end, begin); end < len(s) && !isMark[s[end]]; {
			end++
		}
		// The scheme, if there is one.
		scheme := begin - 2
		if scheme > 0 && s[scheme-1] == ':' {
			for scheme--; scheme > at && begin-scheme < 32 && isLetter(s[scheme-1]); {
				scheme--
			}
		}
		address := s[begin:min(end, begin+maxAddress)]
		found = append(found, login(s, strings.ToLower(s[scheme:begin]), begin, begin+len(address))...)
		if scheme < begin-2 && begin >= walked {
			found = append(found, pathOf(s, begin, end)...)
			walked = begin + pathEnd(s[begin:end])
		}
		// Another address may stand in the path or the query of this one.
		at = begin + max(0, strings.IndexAny(address, "/?#"))
	}
	return append(found, bareLogins(s)...)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '+' }

// maxAddress is how long an address may be in which a password with a slash is
// looked for.
const maxAddress = 2048

// isMark has the bytes that are in no address.
var isMark = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, '"': true, '\'': true, '`': true, '<': true, '>': true, '\\': true}

// login finds the password in user:password@host, which begins there and ends with the address.
// The password may have any character in it, for people do not encode it.
func login(s, scheme string, begin, end int) (found Secrets) {
	address := s[begin:end]
	authority := address
	if n := strings.IndexAny(address, "/?#"); n >= 0 {
		authority = address[:n]
	}
	alone := slices.Contains(loneSecrets, scheme)
	web := strings.HasPrefix(scheme, "http") || strings.HasPrefix(scheme, "nats")
	last := strings.LastIndexByte(authority, '@')
	if last < 0 {
		// user:pass/word@host, but not host:8080/x@y
		colon := strings.IndexByte(authority, ':')
		if colon < 0 || isPort(authority[colon+1:]) {
			return nil
		}
		last = strings.LastIndexByte(address, '@')
		if last < 0 {
			last = beyondBlanks(s, begin, end)
			address = s[begin:min(len(s), begin+maxAddress)]
		}
		if last < colon || !isHost(address[last+1:]) || strings.HasPrefix(authority, "[") || strings.HasPrefix(authority, "$") {
			return nil
		}
		return Secrets{{Span{begin + colon + 1, begin + last}, byPassword}}
	}
	// a@h1,b@h2: the users of several hosts.
	parts := strings.Split(authority[:last], ",")
	if slices.ContainsFunc(parts[:len(parts)-1], func(part string) bool { return !strings.Contains(part, "@") }) {
		parts = []string{authority[:last]} // one password with a comma in it
	}
	at := 0
	for n, part := range parts {
		user := part
		if n < len(parts)-1 {
			user = part[:strings.LastIndexByte(part, '@')]
		}
		colon := strings.IndexByte(user, ':')
		switch {
		case colon >= 0 && colon+1 < len(user):
			found = append(found, Secret{Span{begin + at + colon + 1, begin + at + len(user)}, byPassword})
		case colon < 0 && (alone && user != "" || len(user) >= 20 ||
			web && len(user) >= 8 && names.HasDigitAndLetter(user)) && !strings.ContainsAny(user, "$({%"):
			found = append(found, Secret{Span{begin + at, begin + at + len(user)}, byUser})
		}
		at += len(part) + 1
	}
	return found
}

// loneSecrets are schemes in which what stands before the host is no user.
var loneSecrets = []string{"snmp://", "trojan://", "vless://", "hysteria2://", "hy2://", "tuic://"}

// beyondBlanks returns where the host begins behind a password with blanks in it, or -1: all of it stands in one pair of
// quotes, and no other address in between.
func beyondBlanks(s string, begin, end int) int {
	if end >= len(s) || s[end] != ' ' {
		return -1
	}
	rest := s[begin:min(len(s), end+64, begin+maxAddress)]
	if n := strings.IndexAny(rest, "\"'`\n<>"); n >= 0 {
		rest = rest[:n]
	}
	at := strings.IndexByte(rest, '@')
	if at < 0 || strings.Contains(rest[:at], "//") || strings.Count(rest[:at], " ") > 3 || strings.ContainsAny(rest[:at], "()[],;") ||
		strings.Contains(rest[:at], ": ") {
		return -1
	}
	return at
}

func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 5
}

// isHost reports whether a text begins with the name of a host.
func isHost(s string) bool {
	n := 0
	for n < len(s) && (isLetter(s[n]) && s[n] != '+' || s[n] == '.' || s[n] == '-' || s[n] == '_' || s[n] == '[') {
		n++
	}
	return n > 0 && (n == len(s) || strings.IndexByte(":/?,;)]}", s[n]) >= 0)
}

// callers are words of paths behind which there is what lets a caller in.
var callers = names.Set("hook hooks webhook webhooks import imports callback callbacks trigger triggers invite invites join incoming " +
	"integrations services workflows webhookb2 rest enroll enrol register ingest notify collect events reset verify activate share shared " +
	"heartbeat heartbeats capability capabilities b ping push inputs catch")

// pathOf finds the parts of a path that are no words.
func pathOf(s string, begin, end int) (found Secrets) {
	end = begin + pathEnd(s[begin:end])
	slash := strings.IndexByte(s[begin:end], '/')
	if slash < 0 {
		return nil
	}
	called := false
	for from := begin + slash + 1; from < end; {
		to := from
		for to < end && s[to] != '/' {
			to++
		}
		part := s[from:to]
		switch {
		case names.Harmless(part) || strings.Contains(part, ":"):
		case called && (names.LooksSecret(part) || isUUID(part) || names.Random(part)),
			len(part) >= 20 && capitals(part) && names.Random(withoutMarks.Replace(part)):
			found = append(found, Secret{Span{from, to}, byPath})
		default:
			found = append(found, longRuns(s, from, to)...)
		}
		called = called || callers[strings.ToLower(strings.TrimSuffix(part, ".php"))] || strings.Contains(part, "hook")
		from = to + 1
	}
	return found
}

// pathEnd returns where the path of an address ends.
func pathEnd(address string) int {
	if n := strings.IndexAny(address, "?#"); n >= 0 {
		return n
	}
	return len(address)
}

var withoutMarks = strings.NewReplacer("-", "", ".", "")

// longRuns finds runs of letters and digits that are longer than words.
func longRuns(s string, from, to int) (found Secrets) {
	for i := from; i < to; {
		j := i
		for j < to && isLetter(s[j]) && s[j] != '+' {
			j++
		}
		if j-i >= 24 {
			found = append(found, Secret{Span{i, j}, byPath})
		}
		i = j + 1
	}
	return found
}

// capitals reports whether capitals stand behind small letters and digits more
// often than in names that are written together.
func capitals(s string) bool {
	n := 0
	for i := 1; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' && s[i-1] >= '0' && s[i-1] <= '9' || s[i-1] >= 'A' && s[i-1] <= 'Z' && s[i] >= '0' && s[i] <= '9' {
			n++
		}
	}
	return n >= 1
}

func isUUID(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' && names.IsID(s)
}

// bareLogins finds user:password@host where no scheme stands before.
func bareLogins(s string) (found Secrets) {
	for at := 0; ; {
		n := strings.IndexByte(s[at:], '@')
		if n < 0 {
			return found
		}
		at += n + 1
		rest := s[at:]
		if !isHost(rest) || strings.HasPrefix(rest, "sha256:") || strings.HasPrefix(rest, "sha512:") {
			continue
		}
		colon := -1
		from := at - 1
		for from > 0 && at-from < 256 && strings.IndexByte(" \t\r\n\"'`<>@/\\,;=([{", s[from-1]) < 0 {
			from--
			if s[from] == ':' {
				colon = from
			}
		}
		if colon <= from || colon+1 >= at-1 || from > 0 && s[from-1] == '/' {
			continue
		}
		user, pass := s[from:colon], s[colon+1:at-1]
		host := rest[:min(len(rest), 256)]
		n = strings.IndexByte(host, ':')
		withPort := n >= 0 && len(host) > n+1 && isPort(host[n+1:n+2])
		if withPort || names.HasDigitAndLetter(pass) || strings.ContainsAny(pass, "!#$%^&*+?") {
			if (!names.NoLogins[strings.ToLower(user)] || strings.ContainsAny(host, ":/")) &&
				!isPort(user) && names.IsName(user) && !names.Harmless(pass) {
				found = append(found, Secret{Span{colon + 1, at - 1}, byPassword})
			}
		}
	}
}

package zapi

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const defaultBaseURL = "https://api.z-api.io"

// hostPattern matches a host that can be dialed. The parser of net/url accepts others, also escaped ones beyond ASCII.
var hostPattern = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[!-~]+)?\])(:[0-9]*)?$`)

// parseBaseURL returns the base URL without a trailing slash, or what is wrong with it.
func parseBaseURL(rawURL string, insecureHTTP bool) (base *url.URL, reason string) {
	base, err := url.Parse(rawURL)
	switch {
	case err != nil || base.Hostname() == "" || !isPort(base.Port()):
		return nil, "must be an absolute URL with a host"
	case !hostPattern.MatchString(base.Host):
		return nil, "must have a host of letters, digits, -, _ and ., or an IPv6 address in brackets"
	case strings.ContainsFunc(rawURL, isUnprintable):
		return nil, "must be printable ASCII without spaces"
	case base.User != nil, strings.ContainsAny(rawURL, "?#"):
		return nil, "must not have user info, query or fragment"
	case base.Scheme == "http" && !insecureHTTP && !isLoopback(base.Hostname()):
		return nil, "must be https; WithInsecureHTTP allows http beyond loopback"
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, "must be http or https"
	case hasSegment(base.Path, ".", ".."):
		return nil, "must not have dot segments"
	case hasSegment(base.Path, "instances", "token"): // middleware would see the token
		return nil, "must end before /instances, as the URL that the panel shows has the token in it"
	}
	base.Host = strings.TrimSuffix(base.Host, ":") // as net/http does with an empty port
	base.Host = strings.ToLower(base.Host)         // net/http would send requests for LOCALHOST to a proxy
	base.RawPath = strings.TrimRight(base.EscapedPath(), "/")
	base.Path, _ = url.PathUnescape(base.RawPath) // cannot fail: EscapedPath is valid
	return base, ""
}

// hasSegment reports whether a segment of path is one of names, in any case.
func hasSegment(path string, names ...string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(segment string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(segment, name) })
	})
}

// isPort reports whether port is empty or a port that can be dialed.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// isUnprintable reports whether r is a space or not printable ASCII. Pasted text may hold such characters.
func isUnprintable(r rune) bool { return r <= ' ' || r > '~' }

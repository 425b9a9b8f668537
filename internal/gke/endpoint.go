package gke

import (
	"fmt"
	"net/netip"
	"net/url"
)

// APIs are where Google's APIs are. The zero value is Google's own endpoints.
type APIs struct{ container, manager, compute override }

// override stands in for an API's own; its url is nil for that.
type override struct{ url *url.URL }

// APIsFrom reads gcloud's own variables for other endpoints. It returns an error for each that cannot be one.
func APIsFrom(getenv func(string) string) (APIs, []error) {
	var a APIs
	var wrong []error
	for _, api := range []struct {
		name string
		to   *override
	}{{"CONTAINER", &a.container}, {"CLOUDRESOURCEMANAGER", &a.manager}, {"COMPUTE", &a.compute}} {
		variable := "CLOUDSDK_API_ENDPOINT_OVERRIDES_" + api.name
		value := getenv(variable)
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || !acceptable(u) {
			wrong = append(wrong, fmt.Errorf("%s=%q: want https://HOST[:PORT]/, or http://HOST:PORT/ on loopback", variable, value))
			continue
		}
		api.to.url = u
	}
	return a, wrong
}

// acceptable tells whether credentials can be sent there, or need not be: http means neither TLS nor credentials, and so only loopback.
func acceptable(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return u.Host != ""
	case "http":
		addr, err := netip.ParseAddr(u.Hostname())
		return u.Port() != "" && (u.Hostname() == "localhost" || err == nil && addr.IsLoopback())
	}
	return false
}

// plain tells that there is neither TLS nor credentials.
func (e override) plain() bool { return e.url != nil && e.url.Scheme == "http" }

// base is the URL that an API's paths are relative to. An endpoint without a path has that of Google's own, as it has for gcloud.
func (e override) base(google string) *url.URL {
	own, err := url.Parse(google)
	if err != nil || e.url == nil {
		return own
	}
	base := *e.url
	if base.Path == "" || base.Path == "/" {
		base.Path = own.Path
	}
	return &base
}

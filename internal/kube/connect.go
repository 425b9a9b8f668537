// Package kube reads and changes a cluster through the Kubernetes API: it keeps caches of what an upgrade has to know, turns
// them into the domain's State, and makes the few changes that a drain consists of.
package kube

import (
	"fmt"
	"net/http"
	"path/filepath"

	"golang.org/x/oauth2"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// qps and burst are ours: client-go's 5 and 10 let a tool's own reads starve its evictions.
	qps   = 50
	burst = 100
)

// ConfigFromFile reads a kubeconfig's current context. Path may be a list of files, as in KUBECONFIG.
func ConfigFromFile(path, userAgent string) (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: path}
	if files := filepath.SplitList(path); len(files) > 1 {
		rules = &clientcmd.ClientConfigLoadingRules{Precedence: files}
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return tune(config, userAgent), nil
}

// ConfigForEndpoint reaches an API server at host (a URL) that is trusted by ca (PEM; empty for the system's authorities), with a
// bearer token that is refreshed when it expires, and, where source is a Renewer, once when it is refused.
func ConfigForEndpoint(host string, ca []byte, source oauth2.TokenSource, userAgent string) *rest.Config {
	config := &rest.Config{Host: host, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
	config.Wrap(func(base http.RoundTripper) http.RoundTripper {
		return bearing{source: source, base: base}
	})
	return tune(config, userAgent)
}

// CA returns the PEM certificate that config trusts, empty for the system's authorities.
func CA(config *rest.Config) ([]byte, error) {
	loaded := rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(loaded); err != nil {
		return nil, fmt.Errorf("read the certificates of the kubeconfig: %w", err)
	}
	return loaded.CAData, nil
}

func tune(config *rest.Config, userAgent string) *rest.Config {
	config.UserAgent, config.QPS, config.Burst = userAgent, qps, burst
	return config
}

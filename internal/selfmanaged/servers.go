package selfmanaged

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// servers are the versions of all API servers, one each. One answer through a balancer would be that of any of them, so they are told from
// the static pods that they run in; or, where there are none, each is asked at its own address; or whichever answers, and why it is only
// that one is said.
func (p *Provider) servers(ctx context.Context) (versions []string, unseen string, err error) {
	pods, err := p.client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("list the pods of the control plane: %w", err)
	}
	versions, incomplete := fromPods(pods.Items)
	if len(versions) > 0 && incomplete == "" {
		return versions, "", nil
	}
	asked, askErr := p.askEach(ctx)
	if askErr == nil {
		return asked, "", nil
	}
	one, err := p.ask(ctx, p.config)
	if err != nil {
		return nil, "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	unseen = askErr.Error()
	if incomplete != "" {
		unseen = incomplete + "; " + unseen
	}
	return append(versions, one), unseen, nil
}

// fromPods are the versions of the API servers that run as static pods. Incomplete says of which the version cannot be told.
func fromPods(pods []corev1.Pod) (versions []string, incomplete string) {
	for _, p := range pods {
		_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
		if !mirror || p.Labels["component"] != upgrade.APIServer && !strings.HasPrefix(p.Name, upgrade.APIServer+"-") || len(p.Spec.Containers) == 0 {
			continue
		}
		image, _, _ := strings.Cut(p.Spec.Containers[0].Image, "@")
		_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		v := strings.TrimPrefix(tag, "v")
		if _, ok := upgrade.MinorsBetween(v, v); !ok {
			incomplete = fmt.Sprintf("pod %s has the image %s, which tells no version", p.Name, p.Spec.Containers[0].Image)
			continue
		}
		versions = append(versions, v)
	}
	return versions, incomplete
}

// askEach asks the API server at each address of the Service kubernetes.
func (p *Provider) askEach(ctx context.Context) ([]string, error) {
	slicesOf, err := p.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=kubernetes",
	})
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the API servers: %w", err)
	}
	addresses := serverAddresses(slicesOf.Items)
	if len(addresses) == 0 {
		return nil, errors.New("the Service kubernetes has no addresses")
	}
	versions, errs := make([]string, len(addresses)), make([]error, len(addresses))
	var asking sync.WaitGroup
	for i, address := range addresses {
		asking.Go(func() {
			one := rest.CopyConfig(p.config)
			one.Host = "https://" + address // which its certificate is for, too
			var err error
			if versions[i], err = p.ask(ctx, one); err != nil {
				errs[i] = fmt.Errorf("the API server at %s cannot be asked: %w", address, err)
			}
		})
	}
	asking.Wait()
	return versions, errors.Join(errs...)
}

// serverAddresses are the addresses with ports, each once.
func serverAddresses(slicesOf []discoveryv1.EndpointSlice) []string {
	var addresses []string
	for _, s := range slicesOf {
		for _, e := range s.Endpoints {
			for _, port := range s.Ports {
				if port.Port == nil {
					continue
				}
				for _, host := range e.Addresses {
					addresses = append(addresses, net.JoinHostPort(host, fmt.Sprint(*port.Port)))
				}
			}
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// ask asks one API server for its version.
func (p *Provider) ask(ctx context.Context, config *rest.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	config = rest.CopyConfig(config)
	config.GroupVersion, config.NegotiatedSerializer = &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return "", err
	}
	data, err := client.Get().AbsPath("/version").MaxRetries(0).Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	var info version.Info
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("read its version: %w", err)
	}
	return strings.TrimPrefix(info.GitVersion, "v"), nil
}

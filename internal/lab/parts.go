package lab

import (
	_ "embed"
	"path/filepath"
)

// kwokConfig is how KWOK plays kubelets: its options and the stages of nodes and pods.
//
//go:embed kwok.yaml
var kwokConfig []byte

// part is one component with its flags, beyond the binary's name for it.
type part struct {
	name string
	args []string
}

func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }

// parts are the components in the order of their start.
func (l *Lab) parts(options Options) []part {
	// Sockets, because no one else can take a path of the lab's own directory.
	etcd, peer := "unix://"+l.path("etcd.sock"), "unix://"+l.path("peer.sock")
	parts := []part{
		{"etcd", []string{
			"--name=lab", "--data-dir=" + l.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
		}},
		{"kube-apiserver", []string{
			"--etcd-servers=" + etcd,
			"--bind-address=127.0.0.1", "--secure-port=" + l.api.String(),
			"--cert-dir=" + l.path("apiserver"),
			"--tls-cert-file=" + l.path("serving.crt"), "--tls-private-key-file=" + l.path("serving.key"),
			"--token-auth-file=" + l.path("tokens.csv"), "--authorization-mode=RBAC", "--anonymous-auth=false",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + l.path("serving.key"), "--service-account-signing-key-file=" + l.path("serving.key"),
			"--service-cluster-ip-range=10.0.0.0/20",
			"--disable-admission-plugins=ServiceAccount",
		}},
		{controllerManager, []string{
			"--kubeconfig=" + l.path(controllerManager+".kubeconfig"), "--leader-elect=false", "--secure-port=0",
		}},
		{scheduler, []string{
			"--kubeconfig=" + l.path(scheduler+".kubeconfig"), "--leader-elect=false", "--secure-port=0",
		}},
		{kwok, []string{
			"--kubeconfig=" + l.path(kwok+".kubeconfig"), "--config=" + l.path("kwok.yaml"), "--node-lease-duration-seconds=0",
		}},
	}
	if options.FastControllers {
		for i := range parts {
			if parts[i].name == controllerManager || parts[i].name == scheduler {
				parts[i].args = append(parts[i].args, "--kube-api-qps=1000", "--kube-api-burst=2000")
			}
		}
	}
	return parts
}

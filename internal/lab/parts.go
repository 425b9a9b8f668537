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
	name, label string // label is what it is called where there are several of the name; empty: name
	args        []string
	over        func() // called, perhaps twice, when it has been ended; nil: nothing is left to do then
}

// apiServer is an API server of the cluster, with a label of its own beside the first.
func (l *Lab) apiServer(label string, port *port, flags ...string) part {
	return part{name: apiServer, label: label, args: append([]string{
		"--etcd-servers=" + l.etcd(),
		"--bind-address=127.0.0.1", "--secure-port=" + port.String(),
		"--cert-dir=" + l.path(label),
		"--tls-cert-file=" + l.path("serving.crt"), "--tls-private-key-file=" + l.path("serving.key"),
		"--token-auth-file=" + l.path("tokens.csv"), "--authorization-mode=RBAC", "--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + l.path("serving.key"), "--service-account-signing-key-file=" + l.path("serving.key"),
		"--service-cluster-ip-range=10.0.0.0/20",
		"--disable-admission-plugins=ServiceAccount",
	}, flags...)}
}

// etcd is where etcd serves: a socket, because no one else can take a path of the lab's own directory.
func (l *Lab) etcd() string { return "unix://" + l.path("etcd.sock") }

func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }

// parts are the components in the order of their start.
func (l *Lab) parts(options Options) []part {
	etcd, peer := l.etcd(), "unix://"+l.path("peer.sock")
	parts := []part{
		{name: "etcd", args: []string{
			"--name=lab", "--data-dir=" + l.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
		}},
		l.apiServer(apiServer, l.api),
		{name: controllerManager, args: []string{
			"--kubeconfig=" + l.path(controllerManager+".kubeconfig"), "--leader-elect=false", "--secure-port=0",
		}},
		{name: scheduler, args: []string{
			"--kubeconfig=" + l.path(scheduler+".kubeconfig"), "--leader-elect=false", "--secure-port=0",
		}},
		{name: kwok, args: []string{
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

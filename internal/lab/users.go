package lab

import (
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// The lab's users, one for each kind of client so that their requests can be told apart. All are in system:masters.
const (
	Admin    = "admin"    // people, and tests on their own behalf
	Upshift  = "upshift"  // the product
	Observer = "observer" // the witness
	Emulator = "emulator" // the clouds
	Kubectl  = "kubectl"  // the peer
)

const (
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kwok              = "kwok"
)

// Users are the names that [Lab.Config] and its like accept.
func Users() []string { return []string{Admin, Upshift, Observer, Emulator, Kubectl} }

// users maps a name to its bearer token.
type users map[string]string

func newUsers() users {
	u := users{}
	for _, name := range append(Users(), controllerManager, scheduler, kwok) {
		u[name] = rand.Text()
	}
	return u
}

// writeTokens writes what kube-apiserver's --token-auth-file expects: token, name, uid, groups.
func (u users) writeTokens(path string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(u)) {
		fmt.Fprintf(&b, "%s,%s,%s,system:masters\n", u[name], name, name)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// byToken is the name whose token this is.
func (u users) byToken(token string) (string, bool) {
	for name, t := range u {
		if t == token {
			return name, true
		}
	}
	return "", false
}

// WriteKubeconfig writes a kubeconfig for one of [Users], through the proxy. Its context is called "lab".
func (l *Lab) WriteKubeconfig(user, path string) error {
	return l.writeKubeconfig(l.Endpoint(), user, path)
}

func (l *Lab) writeKubeconfig(addr, user, path string) error {
	config := api.NewConfig()
	config.Clusters["lab"] = &api.Cluster{Server: "https://" + addr, CertificateAuthorityData: l.CA()}
	config.AuthInfos[user] = &api.AuthInfo{Token: l.Token(user)}
	config.Contexts["lab"] = &api.Context{Cluster: "lab", AuthInfo: user}
	config.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

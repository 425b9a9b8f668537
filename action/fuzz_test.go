package main

import (
	"errors"
	"strings"
	"testing"
)

// FuzzInputs: whatever an input holds, it is taken, or refused in one sentence that names it.
func FuzzInputs(f *testing.F) {
	names := inputs()
	for i, in := range names {
		f.Add(uint8(i), in.def)
	}
	f.Fuzz(func(t *testing.T, i uint8, value string) {
		in := names[int(i)%len(names)]
		if in.name == "kubeconfig" || strings.Contains(value, "\x00") {
			return // a file of this machine; and no process has a NUL in its environment
		}
		environ := []string{"INPUT_CLUSTER=projects/p/locations/l/clusters/c", "INPUT_TARGET-VERSION=latest"}
		name := "INPUT_" + strings.ToUpper(in.name)
		environ = append([]string{name + "=" + value}, environ...)
		_, err := parse(nil, environ)
		var bad *badInput
		if err == nil {
			return
		}
		if !errors.As(err, &bad) {
			t.Fatalf("%s=%q: %v", name, value, err)
		}
		for _, p := range bad.problems {
			if strings.ContainsAny(p, "\n\r") {
				t.Errorf("%s=%q takes more than a line: %q", name, value, p)
			}
		}
		named := bad.names(in.name)
		switch in.name {
		case "cluster": // a bare name needs the others
			named = named || bad.names("project") && bad.names("location")
		case "command":
			named = named || bad.names("unblock")
		}
		if !named {
			t.Errorf("%s=%q is refused without being named: %v", name, value, err)
		}
	})
}

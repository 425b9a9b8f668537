// Package labtest gives tests a lab of their own.
package labtest

import (
	"context"
	"testing"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// Start boots a lab that ends with the test; when the test has failed, the components' last words go into its log.
// Under -short the test is skipped.
func Start(t testing.TB) *lab.Lab {
	t.Helper()
	return StartWith(t, lab.Options{})
}

// StartWith is [Start] with options.
func StartWith(t testing.TB, options lab.Options) *lab.Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the lab")
	}
	if options.Progress == nil {
		options.Progress = t.Output()
	}
	// t.Context ends just before the cleanup and would take the logs with it.
	l, err := lab.Start(context.WithoutCancel(t.Context()), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the lab's components:\n" + l.Logs(20))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

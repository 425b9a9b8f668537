// Package oracle compares Upshift with Kubernetes' own code: the simulation of internal/fit with the scheduler, each verdict on a pod and a
// node with its filters, and whole migrations with its filters and scores; and what a drain does with each kind of pod with kubectl's
// drain. It is a module of its own, so that the product does not depend on either.
package oracle

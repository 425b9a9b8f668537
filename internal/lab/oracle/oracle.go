// Package oracle compares the simulation of internal/fit with the scheduler of Kubernetes itself: each verdict on a pod and a node with
// the scheduler's filters, and whole migrations with its filters and scores. It is a module of its own, so that the product does not
// depend on the scheduler.
package oracle

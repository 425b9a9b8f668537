// Package upgrade is the domain: what a cluster looks like, what an upgrade of it will do and what happened in one. It
// decides and describes, and touches nothing: no network, no clock (times are arguments), no files. Everything here is a
// plain value; nothing is safe for concurrent mutation.
package upgrade

// Package slack is the surface in Slack: what people type and click, and the messages that they read. It knows the domain and Slack,
// and neither the cluster nor who carries out runs. Everything that comes from a cluster or from a person is escaped where it goes
// into a message.
package slack

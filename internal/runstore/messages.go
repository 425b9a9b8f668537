package runstore

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Messages returns what was posted about the cluster's plans and runs, by key, so that another process edits the same messages.
func (s *Store) Messages(ctx context.Context) (map[string]upgrade.Posted, error) {
	m, err := s.get(ctx, messagesName)
	if err != nil || m == nil {
		return map[string]upgrade.Posted{}, err
	}
	return readMessages(m), nil
}

// AmendMessages changes what is known to be posted, by compare-and-swap. Change may be called more than once.
func (s *Store) AmendMessages(ctx context.Context, change func(map[string]upgrade.Posted)) error {
	_, err := s.put(ctx, messagesName, func(m *corev1.ConfigMap) error {
		messages := readMessages(m)
		change(messages)
		data, err := json.Marshal(messages)
		if err != nil {
			return fmt.Errorf("write what was posted: %w", err)
		}
		m.Data[messagesKey] = string(data)
		return nil
	})
	return err
}

// readMessages is empty where there is nothing that can be read: then messages are posted anew.
func readMessages(m *corev1.ConfigMap) map[string]upgrade.Posted {
	messages := map[string]upgrade.Posted{}
	if err := json.Unmarshal([]byte(m.Data[messagesKey]), &messages); err != nil || messages == nil {
		return map[string]upgrade.Posted{}
	}
	return messages
}

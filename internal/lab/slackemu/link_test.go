package slackemu

import (
	"bytes"
	"context"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack/socketmode"
)

func TestTicketsAreForOne(t *testing.T) {
	s, ctx := start(t, Options{})
	_, url, err := client(s).StartSocketModeContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (*websocket.Conn, error) {
		conn, resp, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
		if resp != nil {
			_ = resp.Body.Close()
		}
		return conn, err
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var hello struct {
		Type           string
		NumConnections int `json:"num_connections"`
		ConnectionInfo struct {
			AppID string `json:"app_id"`
		} `json:"connection_info"`
	}
	if err := conn.ReadJSON(&hello); err != nil || hello.Type != "hello" || hello.NumConnections != 1 || hello.ConnectionInfo.AppID != s.AppID() {
		t.Errorf("hello: %+v, %v", hello, err)
	}
	if _, err := dial(); err == nil {
		t.Error("a ticket was good for two")
	}
	if err := conn.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte("x"), maxAck)); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, "a complaint", func() bool { return len(s.Unknown()) == 1 })
}

func TestCloseEndsEverything(t *testing.T) {
	s, ctx := start(t, Options{})
	connect(ctx, t, s, func(socketmode.Event) bool { return false })
	typed := make(chan error, 1)
	go func() { typed <- s.Command(ctx, "U1", "C1", "/upgrade") }()
	await(ctx, t, s, "the command", func() bool { return len(s.Deliveries()) == 1 })
	s.Close()
	s.Close()
	if err := <-typed; err == nil {
		t.Error("a command outlived the emulator")
	}
	if err := s.Await(context.Background(), func() bool { return false }); err == nil {
		t.Error("awaited a closed emulator")
	}
}

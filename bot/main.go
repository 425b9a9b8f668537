package main

import _ "github.com/slack-go/slack/socketmode"

func main() {}

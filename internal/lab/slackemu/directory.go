package slackemu

import (
	"fmt"
	"maps"
	"slices"
)

// The workspace and the app in it.
const (
	team       = "T0UPSHIFT"
	teamDomain = "upshift-lab"
	appID      = "A0UPSHIFT"
	botUser    = "U0UPSHIFT"
	botID      = "B0UPSHIFT"
	botName    = "upshift"
)

// User is a person, or another bot.
type User struct {
	ID, Name, RealName string
	Team               string // empty: the workspace's own

	Bot, Restricted, UltraRestricted, Stranger, Deleted bool
}

// Channel is a public or private channel.
type Channel struct {
	ID, Name  string
	Private   bool
	ExtShared bool // with another organisation
	BotAbsent bool // the bot was not invited
}

// Group is a user group.
type Group struct {
	ID, Handle string
	Users      []string
	Disabled   bool
}

// directory is who and what there is in the workspace.
type directory struct {
	users    map[string]User
	channels map[string]Channel
	groups   map[string]Group
	names    map[string]string // as they are shown, by ID
}

func newDirectory(o Options) (directory, error) {
	d := directory{users: map[string]User{}, channels: map[string]Channel{}, groups: map[string]Group{}, names: map[string]string{}}
	bot := User{ID: botUser, Name: botName, RealName: "Upshift", Bot: true}
	for _, u := range append([]User{bot}, o.Users...) {
		if u.Team == "" {
			u.Team = team
		}
		if u.Name == "" {
			u.Name = u.ID
		}
		if err := d.name(u.ID, "@"+u.Name); err != nil {
			return d, err
		}
		d.users[u.ID] = u
	}
	for _, c := range o.Channels {
		if err := d.name(c.ID, "#"+c.Name); err != nil {
			return d, err
		}
		d.channels[c.ID] = c
	}
	for _, g := range o.Groups {
		if err := d.name(g.ID, "@"+g.Handle); err != nil {
			return d, err
		}
		d.groups[g.ID] = g
	}
	return d, nil
}

func (d directory) name(id, name string) error {
	if id == "" {
		return fmt.Errorf("%s has no ID", name)
	}
	if _, taken := d.names[id]; taken {
		return fmt.Errorf("there are two of ID %s", id)
	}
	d.names[id] = name
	return nil
}

// SetGroup replaces the members of a user group, which is made if there is none of that ID.
func (s *Server) SetGroup(id string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.directory.groups[id]
	if !ok {
		g = Group{ID: id, Handle: id}
		s.directory.names = maps.Clone(s.directory.names) // messages that were handed out have the old one
		s.directory.names[id] = "@" + id
	}
	g.Users = slices.Clone(users)
	s.directory.groups[id] = g
	s.touch()
}

// actor finds the person who does something in a channel. It is called with the lock held.
func (s *Server) actor(user, channel string) (User, Channel, error) {
	u, ok := s.directory.users[user]
	if !ok {
		return User{}, Channel{}, fmt.Errorf("there is no user %s", user)
	}
	if u.Deleted {
		return User{}, Channel{}, fmt.Errorf("user %s is deactivated", user)
	}
	c, ok := s.directory.channels[channel]
	if !ok {
		return User{}, Channel{}, fmt.Errorf("there is no channel %s", channel)
	}
	return u, c, nil
}

func usersInfo(s *Server, c *call) (answer, error) {
	u, ok := s.directory.users[c.args["user"]]
	if !ok {
		return nil, refuse("user_not_found")
	}
	user := map[string]any{
		"id": u.ID, "team_id": u.Team, "name": u.Name, "real_name": u.RealName, "deleted": u.Deleted,
		"is_bot": u.Bot, "is_app_user": false, "updated": 1,
		"is_restricted": u.Restricted || u.UltraRestricted, "is_ultra_restricted": u.UltraRestricted,
		"profile": map[string]any{"real_name": u.RealName, "display_name": u.Name, "team": u.Team},
	}
	if u.Stranger {
		user["is_stranger"] = true
	}
	return answer{"user": user}, nil
}

func usergroupsUsersList(s *Server, c *call) (answer, error) {
	if s.options.NoUserGroups {
		return nil, refuse("plan_upgrade_required")
	}
	if err := c.require("usergroup"); err != nil {
		return nil, err
	}
	g, ok := s.directory.groups[c.args["usergroup"]]
	if !ok || g.Disabled && !c.flag("include_disabled") {
		return nil, refuse("no_such_subteam")
	}
	return answer{"users": append([]string{}, g.Users...)}, nil
}

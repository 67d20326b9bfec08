package cli

import (
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/config"
)

// session is a context in use.
type session struct {
	*client.Client
	app     *app
	context config.Context
	// configPath is where the context comes from.
	configPath string
}

// open returns a session with the context of the user's choice. It must be
// closed.
func (a *app) open() (*session, error) {
	file, path, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	c, err := a.pickContext(file, path)
	if err != nil {
		return nil, err
	}
	s, err := a.connect(c)
	if err != nil {
		return nil, err
	}
	s.configPath = path
	return s, nil
}

func (a *app) connect(c config.Context) (*session, error) {
	cl, err := client.New(client.Options{Server: c.Server, CAHash: c.CAHash, Token: string(c.Token), Timeout: a.timeout})
	if err != nil {
		return nil, err
	}
	return &session{Client: cl, app: a, context: c}, nil
}

// explain puts an error of a call into words.
func (s *session) explain(err error) error {
	return explain(err, s.context, s.app.timeout)
}

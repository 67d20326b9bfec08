package verb

import (
	"context"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/config"
)

// Session is a context in use.
type Session struct {
	*client.Client
	App     *App
	Context config.Context
	// ConfigPath is where the context comes from.
	ConfigPath string
}

// Open returns a session with the context of the user's choice. It must be
// closed.
func (a *App) Open() (*Session, error) {
	file, path, err := a.LoadConfig()
	if err != nil {
		return nil, err
	}
	c, err := a.PickContext(file, path)
	if err != nil {
		return nil, err
	}
	s, err := a.Connect(c)
	if err != nil {
		return nil, err
	}
	s.ConfigPath = path
	return s, nil
}

// Connect returns a session with a context that need not be in the configuration. It must be closed.
func (a *App) Connect(c config.Context) (*Session, error) {
	cl, err := client.New(client.Options{Server: c.Server, CAHash: c.CAHash, Token: string(c.Token), Timeout: a.timeout})
	if err != nil {
		return nil, err
	}
	return &Session{Client: cl, App: a, Context: c}, nil
}

// Explain puts an error of a call into words.
func (s *Session) Explain(err error) error {
	return explain(err, s.Context, s.App.timeout)
}

// GetStatus asks what answers, and as whom.
func (s *Session) GetStatus(ctx context.Context) (*reevev1.GetStatusResponse, error) {
	answer, err := s.Fleet.GetStatus(ctx, connect.NewRequest(&reevev1.GetStatusRequest{}))
	if err != nil {
		return nil, s.Explain(err)
	}
	return answer.Msg, nil
}

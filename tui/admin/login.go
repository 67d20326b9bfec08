// Package admin has the verbs with which one signs in, and looks after sites, agents, tokens, scopes, authorities and layouts.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/tui/client"
	"github.com/reeve-cloud/reeve/tui/config"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type loginOptions struct {
	server    string
	caHash    string
	tokenFile string
}

// LoginCommand returns the verb login.
func LoginCommand(a *verb.App) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login SERVER",
		Short: "Sign in to an aggregator and keep that as a context",
		Long: `Sign in to an aggregator and keep that as a context, which becomes the current one.

SERVER is https://host:port or host:port. The token is read from --token-file,
else from standard input, or asked for if that is a terminal. Without --ca-hash
the server's certificate must be from a CA that this machine trusts. With it, it
must be from the CA with that hash, which the aggregator prints as ca-hash when
it starts. The context is named after the host unless --context gives a name.`,
		Example: `  reeve login reeve.example.org:8443 --ca-hash sha256:... --token-file admin.token
  reeve login https://reeve.example.org --context production < admin.token`,
		Args:              verb.Exactly("SERVER"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.server = args[0]
			return login(cmd.Context(), a, o)
		},
	}
	cmd.Flags().StringVar(&o.caHash, "ca-hash", "", "trust the CA with this hash (sha256:HEX) and no other")
	cmd.Flags().StringVar(&o.tokenFile, "token-file", "", "file with the token")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.NotExistError](err); ok && e.GetSpecifiedName() == "token" {
			return errors.New("a token does not belong on the command line, where other users can see it: use --token-file")
		}
		return cmdline.FlagError(cmd, err)
	})
	return cmd
}

func login(ctx context.Context, a *verb.App, o loginOptions) error {
	server, err := client.ParseServer(o.server)
	if err != nil {
		return verb.Usagef("%v", err)
	}
	if o.caHash != "" {
		if _, err := identity.ParsePin(o.caHash); err != nil {
			return verb.Usagef("--ca-hash: %v", err)
		}
	}
	file, path, err := a.LoadConfig()
	if err != nil {
		return err
	}
	name, err := loginName(a, file, server)
	if err != nil {
		return err
	}
	token, err := readToken(ctx, a, o.tokenFile, server)
	if err != nil {
		return err
	}
	s, err := a.Connect(config.Context{Name: name, Server: server, CAHash: o.caHash, Token: config.Token(token)})
	if err != nil {
		return err
	}
	defer s.Close()
	answer, err := s.GetStatus(ctx)
	if err != nil {
		return err
	}
	// The user may have taken his time, and signed in elsewhere.
	if file, err = config.Load(path); err != nil {
		return err
	}
	file.Put(s.Context)
	file.Current = name
	if err := file.Save(path); err != nil {
		return err
	}
	if other := a.Getenv("REEVE_CONTEXT"); other != "" && other != name {
		a.Note("warning: REEVE_CONTEXT chooses context %s, not this one", other)
	}
	return a.Say("Signed in to %s as %s; context %s is in %s", server, answer.GetUser(), name, path)
}

// loginName returns the name for the context of a server.
func loginName(a *verb.App, file *config.File, server string) (string, error) {
	if a.ContextName != "" {
		if err := config.CheckName(a.ContextName); err != nil {
			return "", verb.Usagef("%v", err)
		}
		return a.ContextName, nil
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("server %q: %w", server, err)
	}
	name := u.Hostname()
	if err := config.CheckName(name); err != nil {
		return "", verb.Usagef("%s makes no name for a context: give one with --context", name)
	}
	if old := file.Context(name); old != nil && old.Server != server {
		return "", verb.Usagef("context %s already exists, for %s: give another name with --context", name, old.Server)
	}
	return name, nil
}

// readToken returns the token from the file, if one is named, or from standard
// input.
func readToken(ctx context.Context, a *verb.App, file, server string) (string, error) {
	var (
		data []byte
		err  error
	)
	switch fd, ok := verb.Terminal(a.Stdin); {
	case file != "":
		data, err = readTokenFile(file)
	case ok:
		data, err = askSecret(ctx, a, fd, fmt.Sprintf("Token for %s: ", server))
	default:
		data, err = readLimited(a.Stdin)
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	return token, client.CheckToken(token)
}

func readTokenFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f)
}

// readLimited reads at most as much as tells a token from what is too long for
// one.
func readLimited(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, 64<<10))
}

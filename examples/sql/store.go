package main

import (
	"context"
	"database/sql"
	"errors"

	_ "modernc.org/sqlite" // the driver "sqlite"; the rest of the program knows database/sql only

	"github.com/zapi-go/zapi"
)

// Everyone who can read the table can use the numbers in it. A real table holds both secrets encrypted.
const schema = `CREATE TABLE instances (tenant TEXT PRIMARY KEY, instance_id TEXT NOT NULL, token TEXT NOT NULL, client_token TEXT NOT NULL)`

var errNoTenant = errors.New("no such tenant")

// A store keeps the credentials of tenants.
type store struct{ db *sql.DB }

// openStore opens an empty store in memory, which ends with its only connection.
func openStore(ctx context.Context) (store, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return store{}, err
	}
	db.SetMaxOpenConns(1)
	if _, err = db.ExecContext(ctx, schema); err != nil {
		return store{}, errors.Join(err, db.Close())
	}
	return store{db}, nil
}

// add stores the credentials as they are: whether they can be right is the answer of [zapi.API.Instance].
func (s store) add(ctx context.Context, tenant string, creds zapi.Credentials) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO instances (tenant, instance_id, token, client_token) VALUES (?, ?, ?, ?)`,
		tenant, creds.InstanceID, creds.Token, creds.ClientToken)
	return err
}

// credentials returns those of a tenant, or errNoTenant.
func (s store) credentials(ctx context.Context, tenant string) (zapi.Credentials, error) {
	var creds zapi.Credentials
	row := s.db.QueryRowContext(ctx, `SELECT instance_id, token, client_token FROM instances WHERE tenant = ?`, tenant)
	err := row.Scan(&creds.InstanceID, &creds.Token, &creds.ClientToken)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoTenant
	}
	return creds, err
}

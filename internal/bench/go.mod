module github.com/zapi-go/zapi/internal/bench

go 1.25.0

require (
	github.com/go-resty/resty/v2 v2.17.2
	github.com/stretchr/testify v1.12.1
	github.com/zapi-go/zapi v0.0.0
)

require (
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/net v0.58.0 // indirect
)

replace github.com/zapi-go/zapi => ../..

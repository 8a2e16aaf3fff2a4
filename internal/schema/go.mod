module github.com/zapi-go/zapi/internal/schema

go 1.25.0

replace github.com/zapi-go/zapi => ../..

require (
	github.com/dlclark/regexp2 v1.12.0
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3
	github.com/stretchr/testify v1.12.1
	github.com/zapi-go/zapi v0.1.0
	go.yaml.in/yaml/v3 v3.0.6
)

require (
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

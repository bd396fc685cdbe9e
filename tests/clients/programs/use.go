package main

import (
	"context"
	"fmt"
	"os"

	flyte "github.com/example/flyte"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	configuration := flyte.NewConfiguration()
	configuration.Servers = flyte.ServerConfigurations{{URL: os.Args[1]}}
	client := flyte.NewAPIClient(configuration)
	projects, _, err := client.ProjectsAPI.ListProjects(context.Background()).Limit(5).Execute()
	check(err)
	version, _, err := client.VersionAPI.GetVersion(context.Background()).Execute()
	check(err)
	request := flyte.NewServiceCreateUploadLocationRequest()
	request.SetProject("flytesnacks")
	request.SetDomain("development")
	request.SetFilename("f")
	request.SetFilenameRoot("root")
	upload, _, err := client.DataProxyAPI.CreateUploadLocation(context.Background()).ServiceCreateUploadLocationRequest(*request).Execute()
	check(err)
	fmt.Println(projects.Projects[0].GetId())
	controlPlane := version.GetControlPlaneVersion()
	fmt.Println(controlPlane.GetVersion())
	fmt.Println(upload.GetNativeUrl())
}

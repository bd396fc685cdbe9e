import { Configuration, DataProxyApi, ProjectsApi, VersionApi } from './index';

async function main() {
  const configuration = new Configuration({ basePath: process.argv[2] });
  const projects = await new ProjectsApi(configuration).listProjects({ limit: 5 });
  const version = await new VersionApi(configuration).getVersion();
  const upload = await new DataProxyApi(configuration).createUploadLocation({
    serviceCreateUploadLocationRequest: { project: 'flytesnacks', domain: 'development', filename: 'f', filenameRoot: 'root' },
  });
  console.log(projects.projects?.map((project) => project.id).join(','));
  console.log(version.controlPlaneVersion?.version);
  console.log(upload.nativeUrl);
}

main();

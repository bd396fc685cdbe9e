import org.openapitools.client.ApiClient;
import org.openapitools.client.api.DataProxyApi;
import org.openapitools.client.api.ProjectsApi;
import org.openapitools.client.api.VersionApi;
import org.openapitools.client.model.AdminGetVersionResponse;
import org.openapitools.client.model.AdminProjects;
import org.openapitools.client.model.ServiceCreateUploadLocationRequest;

public class Use {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient().setBasePath(arguments[0]);
        AdminProjects projects = new ProjectsApi(client).listProjects(5L, null, null, null, null, null);
        AdminGetVersionResponse version = new VersionApi(client).getVersion();
        ServiceCreateUploadLocationRequest request = new ServiceCreateUploadLocationRequest()
            .project("flytesnacks").domain("development").filename("f").filenameRoot("root");
        System.out.println(projects.getProjects().get(0).getId());
        System.out.println(version.getControlPlaneVersion().getVersion());
        System.out.println(new DataProxyApi(client).createUploadLocation(request).getNativeUrl());
    }
}

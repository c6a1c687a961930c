"""What an error of a file system means for a person, by the names and codes of its class: each library has its own."""

from collections.abc import Iterator

_LOGIN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or run `az login`",
    "hf": "run `hf auth login`, or set HF_TOKEN",
}
_SAME = {"gcs": "gs", "abfs": "az", "abfss": "az"}
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "TokenRetrievalError"),
    *("SSOTokenLoadError", "UnauthorizedSSOTokenError", "NoAuthTokenError", "DefaultCredentialsError", "RefreshError"),
    *("ClientAuthenticationError", "CredentialUnavailableError", "LocalTokenNotFoundError", "GatedRepoError"),
}
_WRONG_ADDRESS = {"ParamValidationError", "InvalidEndpointConfigurationError", "NoRegionError"}
_EXPIRED = ("ExpiredToken", "expired")
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


def explain(error: Exception, scheme: str) -> str | None:
    """What is wrong and what mends it; None where another try may."""
    login = _LOGIN.get(_SAME.get(scheme, scheme), "log in")
    for each in _list_causes(error):
        text, code = str(each), _get_code(each)
        if type(each).__name__ in _NO_CREDENTIALS:
            return f"no credentials were accepted ({_shorten(text)}): {login}"
        if type(each).__name__ == "SSLCertVerificationError" or "CERTIFICATE_VERIFY_FAILED" in text:
            return f"the connection is not safe ({_shorten(text)}): check the address, and the certificates of this machine"
        if any(word in text for word in _EXPIRED):
            return f"the credentials have expired: {login} again"
        if isinstance(each, PermissionError) or code in ("401", "403", "AccessDenied"):
            return f"access is denied ({_shorten(text)}): {login}, or ask the owner for the right"
        if type(each).__name__ in _WRONG_ADDRESS or code in ("InvalidBucketName", "400"):
            return f"the request was refused ({_shorten(text)}): check the address and the credentials"
        if isinstance(each, NotImplementedError):
            return "this kind of address can't be written to"
        if type(each) is ValueError and "account_name" in text:
            return f"no credentials were accepted ({_shorten(text)}): {login}"
        if isinstance(each, ImportError):
            return _shorten(text)
        if isinstance(each, OSError) and each.errno == 28:
            return "the disk is full where temporary files lie: free some space, or set TMPDIR to another place"
    return None


def find_failure(error: Exception) -> Exception:
    """What went wrong at a website, whose file system takes every failure for a missing file."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    return error if isinstance(cause, FileNotFoundError) or _get_code(cause) in ("404", "410") else cause


def is_bucket_missing(error: Exception) -> bool:
    return any(type(each).__name__ == "NoSuchBucket" or _get_code(each) == "NoSuchBucket" for each in _list_causes(error))


def is_taken(error: Exception) -> bool:
    """Whether an object was not written because there is one already."""
    return isinstance(error, FileExistsError) or any(_get_code(each) in _TAKEN for each in _list_causes(error))


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__


def _get_code(error: BaseException) -> str:
    """The code of a store's answer, such as AccessDenied or 403; empty if it is no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of botocore
        return str(response.get("Error", {}).get("Code", ""))
    return str(getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", ""))


def _shorten(text: str) -> str:
    return " ".join(text.split())[:200].rstrip(".")

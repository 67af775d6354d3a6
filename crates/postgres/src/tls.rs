//! Encryption of connections, with libpq's modes.
//!
//! rustls with the `ring` provider. `prefer` and `require` encrypt without asking who answers, as libpq does; a given
//! `sslrootcert` makes `require` check the chain. `verify-ca` checks the chain, `verify-full` the host name as well.

use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{SslMode, Target};

/// The connector for a target's mode.
///
/// # Errors
/// `machine` when the certificates to trust cannot be read.
pub(super) fn connector(target: &Target) -> Result<MakeRustlsConnect, Problem> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match (target.sslmode, &target.sslrootcert) {
        (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => {
            Verifier { provider: Arc::clone(&provider), chain: None, pinned: Vec::new(), name: false }
        }
        _ => {
            let pinned = given(target)?;
            let chain = chain_verifier(&pinned, &provider)?;
            let name = target.sslmode == SslMode::VerifyFull;
            Verifier { provider: Arc::clone(&provider), chain: Some(chain), pinned, name }
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Problem::new(Kind::Internal, "TLS cannot be set up").detail(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Checks chains against the given certificates, or the system's when none are given.
fn chain_verifier(
    given: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Problem> {
    let mut roots = RootCertStore::empty();
    if given.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        roots.add_parsable_certificates(given.iter().cloned());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().map_err(|e| {
        Problem::new(Kind::Machine, "there are no certificates to trust")
            .detail(e.to_string())
            .hint("Install `ca-certificates`, or add `sslrootcert=/path/to/ca.pem` to the server's address.")
    })
}

/// The certificates in `sslrootcert`; none when it is not given.
fn given(target: &Target) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let Some(path) = &target.sslrootcert else { return Ok(Vec::new()) };
    let unreadable = |e: String| {
        Problem::new(Kind::Machine, format!("cannot read the certificates in `{}`", path.display()))
            .detail(e)
            .hint("`sslrootcert` names a PEM file with the certificate of the authority that signed the server's.")
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(e.to_string()))?;
    if certificates.is_empty() {
        Err(unreadable("the file holds no certificate".into()))
    } else {
        Ok(certificates)
    }
}

/// Checks as much of a certificate as the mode asks for. The handshake's signature is always checked, so the other side
/// does own the key it shows.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Checks the chain; without it any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// The given certificates. A server that shows one of them itself (a self-signed one, made by `openssl req -x509`)
    /// needs no chain; rustls would refuse it as an authority's.
    pinned: Vec<CertificateDer<'static>>,
    /// Whether the host name must be in the certificate.
    name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|certificate| certificate == end_entity) {
            if self.name {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is checked before the name, so a wrong name means a right chain.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

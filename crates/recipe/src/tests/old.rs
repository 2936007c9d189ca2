//! A Dockerfile in the manner of 2017, as it is found in articles: `MAINTAINER`, archives added, services in a start script.

use super::show;
use insta::assert_snapshot;

const LAMP: &str = r#"#Dockerfile to create a local environment, based on an image of our own
#Specifies the image the container is based on
FROM registry.example.com/centos/6/lamp:latest
MAINTAINER Jane Doe <jane@example.com>
#Creates docroot and local settings
RUN mkdir -p /var/www/sites/virtual/$SITE && cp /root/local_settings.php var/www/sites/virtual/$SITE && chmod 666 /var/www/sites/virtual/$SITE && chown -R deploy:apache /var/www/sites/virtual/$
#Set up services to start cleanly
RUN echo "/sbin/service httpd start" >> /root/.bashrc
RUN echo "/sbin/service mysqld start" >> /root/.bashrc
#Add slug and unpack tarball
ADD ./tmp/docker_slug.tar.gz /var/www/sites/virtual/$
#Create database
ADD ./scripts/ /root/
RUN echo "bash /root/" >> /root/.bashrc
#Expose ports for HTTP, HTTPS, MySQL, and SSH
EXPOSE 80 443 3306 22
"#;

#[test]
fn it_is_understood() {
    assert_snapshot!(show(LAMP), @r#"
    run ["/bin/sh","-c","mkdir -p /var/www/sites/virtual/$SITE && cp /root/local_settings.php var/www/sites/virtual/$SITE && chmod 666 /var/www/sites/virtual/$SITE && chown -R deploy:apache /var/www/sites/virtual/$"]
    run ["/bin/sh","-c","echo \"/sbin/service httpd start\" >> /root/.bashrc"]
    run ["/bin/sh","-c","echo \"/sbin/service mysqld start\" >> /root/.bashrc"]
    add unpacked tmp/docker_slug.tar.gz -> /var/www/sites/virtual/$
    add unpacked scripts -> /root/
    run ["/bin/sh","-c","echo \"bash /root/\" >> /root/.bashrc"]
    {"ExposedPorts":{"22/tcp":{},"3306/tcp":{},"443/tcp":{},"80/tcp":{}},"Env":["PATH=/bin"],"WorkingDir":"/"}
    by Jane Doe <jane@example.com>
    "#);
}

#[test]
fn a_placeholder_is_no_image() {
    let file = LAMP.replace("registry.example.com/centos/6/lamp:latest", "<your docker image location here>");
    assert_snapshot!(show(&file), @"Dockerfile line 3: FROM <your docker image location here> is not understood: write FROM image, or FROM image AS name");
}

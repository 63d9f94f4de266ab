export default { template: "<div><slot></slot></div>" };
